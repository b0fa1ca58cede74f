#!/usr/bin/perl
# Evaluate a quietdial policy.json with core modules only: perl decide.pl policy.json vectors.jsonl
# One line of answers for each line of vectors: action answer valid choice.
use strict;
use warnings;
use JSON::PP;
use List::Util qw(max min sum);

my $INF   = 9**9**9;
my %WORDS = ( NaN => $INF - $INF, Infinity => $INF, '-Infinity' => -$INF );

sub number {
    my ($value) = @_;
    return exists $WORDS{$value} ? $WORDS{$value} : 0 + $value;
}

sub float32 { return unpack 'f', pack 'f', $_[0] }

sub tanh {
    my ($x) = @_;
    return $x < 0 ? -1 : 1 if abs($x) > 20;
    return $x - $x**3 / 3 + 2 * $x**5 / 15 if abs($x) < 1e-3;
    my $e = exp( 2 * $x );
    return ( $e - 1 ) / ( $e + 1 );
}

sub decide {
    my ( $policy, $row ) = @_;
    my $decode = $policy->{decode};
    my @x      = map { float32( number($_) ) } @{ $row->{obs} };
    my $base   = $row->{base_dials} // ( $decode->{base} ? -1 : 0 );              # missing: invalid
    my $u      = number( $row->{uniform} // ( $decode->{read} eq 'sample' ? -1 : 0 ) );
    my $valid  = @x == @{ $policy->{low} } && $base >= 0 && $u >= 0 && $u < 1;
    $valid &&= $base <= $decode->{high} if $decode->{base};
    for my $i ( 0 .. $#x ) {
        $valid &&= $x[$i] >= $policy->{low}[$i] && $x[$i] <= $policy->{high}[$i];
    }
    return ( -1, $decode->{invalid}, 0, 0 ) if !$valid;
    for my $layer ( @{ $policy->{layers} } ) {
        my @y = @{ $layer->{b} };
        for my $i ( 0 .. $#x ) {
            my $weights = $layer->{w}[$i];
            $y[$_] += $x[$i] * $weights->[$_] for 0 .. $#y;
        }
        @x = $layer->{act} eq 'tanh' ? map { tanh($_) } @y : @y;
    }
    my ( $action, $answer ) = ( 0, 0 );
    if ( $decode->{read} eq 'continuous' ) {
        my $share = 0.5 * ( tanh( $x[0] ) + 1 );
        $answer = exp( $decode->{log_low} + $share * $decode->{log_ratio} ) * $decode->{scale};
    }
    else {
        if ( $decode->{read} eq 'argmax' ) {
            for my $i ( 1 .. $#x ) { $action = $i if $x[$i] > $x[$action] }    # first of equals
        }
        else {
            my $most    = max(@x);
            my @weights = map { exp( $_ - $most ) } @x;
            my ( $total, $edge ) = ( 0, $u * sum(@weights) );
            for my $i ( 0 .. $#weights - 1 ) {
                $total += $weights[$i];
                $action++ if $total <= $edge;
            }
        }
        $answer = $decode->{table}[$action] + ( $decode->{base} ? $base : 0 );
    }
    $answer = min( max( $answer, $decode->{low} ), $decode->{high} );
    return ( $action, $answer, 1, $decode->{choices}[$action] // 0 );
}

my $path = shift @ARGV;
open my $file, '<', $path or die "$path: $!\n";
my $policy = decode_json( do { local $/; <$file> } );
while ( my $line = <> ) {
    my ( $action, $answer, $valid, $choice ) = decide( $policy, decode_json($line) );
    printf "%d %.17g %d %d\n", $action, $answer, $valid, $choice;
}
