#!/usr/bin/perl
# Ask a quietdial sidecar how many calls to place now; core modules of Perl only.
#
# The rule: the dialer is never without a number. An answer counts if it comes within 50 ms, is for
# this request and in range; otherwise it is one line for each idle agent, made here. After a failure
# the sidecar is left alone for 250 ms. An answer is worth nothing after its lease.
#
#   perl pacing_client.pl SOCKET < asks.jsonl
#
# reads one ask a line, {"campaign":"sales","idle":3,"in_flight":5,"waiting":0,"features":{...}},
# and prints one decision a line. As a module: require "./pacing_client.pl"; then
#
#   my $sidecar = Sidecar->new(path => "/run/quietdial/sidecar.sock");
#   my $decision = $sidecar->decide($ask);   # ->{answer}, ->{fallback}, ->{reason}, ->{until}
use strict;
use warnings;

package Sidecar;
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(clock_gettime time CLOCK_MONOTONIC);

sub new {
    my ($class, %set) = @_;
    my $self = {
        unit => "new calls", highest => 100, deadline => 0.050, backoff => 0.250, lease => 3.0,
        seq => int(time() * 1000), away_until => 0, rest => "", %set,
    };
    return bless $self, $class;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub decide {
    my ($self, $ask) = @_;
    my $begin = now();
    my $found = "kept_away";
    if ($begin >= $self->{away_until}) {
        local $SIG{PIPE} = "IGNORE";
        $found = eval { $self->_ask($ask, $begin) } // "no_sidecar";
    }
    my $wait = now() - $begin;
    if (ref $found) {
        return {%$found, by => "sidecar", wait => $wait, until => $begin + $found->{lease}};
    }
    if ($found ne "kept_away") {    # a late answer must not be taken for the next one
        close $self->{socket} if $self->{socket};
        @$self{qw(socket rest away_until)} = (undef, "", now() + $self->{backoff});
    }
    my $calls = $ask->{idle} - $ask->{in_flight} - $ask->{waiting};
    my $answer = $self->{unit} eq "new calls" ? ($calls > 0 ? $calls : 0) : 1;
    return {answer => $answer, fallback => 1, reason => $found, by => "client", wait => $wait,
        until => now() + $self->{lease}};
}

# The checked answer, or a word why there is none; dies if there is no sidecar.
sub _ask {
    my ($self, $ask, $begin) = @_;
    my $seq = $self->{seq}++;
    my $line = encode_json({%$ask, seq => $seq, observed_at => time()}) . "\n";
    $self->{socket} //= IO::Socket::UNIX->new(Peer => $self->{path}) // die "no socket";
    my $socket = $self->{socket};
    $socket->blocking(0);
    my $select = IO::Select->new($socket);
    my $end = $begin + $self->{deadline};
    while (length $line) {
        $select->can_write($end - now()) or return "no_answer";
        my $sent = syswrite($socket, $line) // die "gone";
        substr($line, 0, $sent, "");
    }
    while ($self->{rest} !~ /\n/) {
        my $left = $end - now();
        return "no_answer" if $left <= 0 || !$select->can_read($left);
        sysread($socket, $self->{rest}, 65536, length $self->{rest}) or die "gone";
    }
    $self->{rest} =~ s/\A(.*?)\n//s;
    my $reply = decode_json($1);
    return "refused" unless ref $reply eq "HASH" && exists $reply->{answer};
    return "wrong_reply" unless $reply->{seq} == $seq && $reply->{campaign} eq $ask->{campaign};
    my ($answer, $lease) = @$reply{qw(answer lease_s)};
    my $number = qr/\A[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\z/;
    return "out_of_range"
        unless $answer =~ $number && $answer <= $self->{highest} && $lease =~ $number
        && $reply->{unit} eq $self->{unit}
        && ($self->{unit} ne "new calls" || $answer == int $answer);
    return {answer => $answer, fallback => $reply->{fallback} ? 1 : 0,
        reason => $reply->{reason}, lease => $lease > 60 ? 60 : $lease};
}

package main;

unless (caller) {
    @ARGV == 1 or die "usage: perl pacing_client.pl SOCKET < asks.jsonl\n";
    my $sidecar = Sidecar->new(path => $ARGV[0]);
    $| = 1;
    while (my $line = <STDIN>) {
        my $decision = $sidecar->decide(JSON::PP::decode_json($line));
        print JSON::PP->new->canonical->encode($decision), "\n";
    }
}
1;
