// Evaluate a quietdial policy.json with Java alone: java Decide.java policy.json vectors.jsonl
// One line of answers for each line of vectors: action answer valid choice.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public final class Decide {
    /** The few forms of JSON that a bundle holds: objects, lists, texts without escapes, numbers. */
    private static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        private char next() {
            while (" \t\r\n,:".indexOf(text.charAt(at)) >= 0) at++;
            return text.charAt(at);
        }

        Object read() {
            char first = next();
            if (first == '{') {
                Map<String, Object> object = new HashMap<>();
                for (at++; next() != '}'; ) object.put((String) read(), read());
                at++;
                return object;
            }
            if (first == '[') {
                List<Object> list = new ArrayList<>();
                for (at++; next() != ']'; ) list.add(read());
                at++;
                return list;
            }
            int from = at;
            if (first == '"') {
                at = text.indexOf('"', at + 1) + 1;
                return text.substring(from + 1, at - 1);
            }
            while (at < text.length() && ",]} \n".indexOf(text.charAt(at)) < 0) at++;
            String word = text.substring(from, at);
            return word.equals("true") || word.equals("false")
                    ? (Object) word.equals("true")
                    : (Object) Double.valueOf(word);
        }
    }

    private static double number(Object value) {
        return value == null ? 0 : value instanceof String ? Double.parseDouble((String) value) : (Double) value;
    }

    private static double[] numbers(Object list) {
        return ((List<?>) list).stream().mapToDouble(Decide::number).toArray();
    }

    private static Map<?, ?> object(Object value) {
        return (Map<?, ?>) value;
    }

    private final double[] low, high, table, choices;
    private final List<double[][]> weights = new ArrayList<>();
    private final List<double[]> biases = new ArrayList<>();
    private final Map<?, ?> decode;
    private final boolean base;

    Decide(Map<?, ?> policy) {
        low = numbers(policy.get("low"));
        high = numbers(policy.get("high"));
        for (Object layer : (List<?>) policy.get("layers")) {
            List<?> rows = (List<?>) object(layer).get("w");
            weights.add(rows.stream().map(Decide::numbers).toArray(double[][]::new));
            biases.add(numbers(object(layer).get("b")));
        }
        decode = object(policy.get("decode"));
        table = numbers(decode.get("table"));
        choices = numbers(decode.get("choices"));
        base = (Boolean) decode.get("base");
    }

    String answer(Map<?, ?> row) {
        double[] x = numbers(row.get("obs"));
        double dials = number(row.get("base_dials")), u = number(row.get("uniform"));
        boolean valid = x.length == low.length && dials >= 0 && u >= 0 && u < 1;
        valid = valid && !(base && dials > number(decode.get("high")));
        valid = valid && !(base && row.get("base_dials") == null); // missing: invalid
        valid = valid && !(decode.get("read").equals("sample") && row.get("uniform") == null);
        for (int i = 0; i < x.length && valid; i++) {
            x[i] = (float) x[i];
            valid = x[i] >= low[i] && x[i] <= high[i];
        }
        if (!valid) return "-1 " + number(decode.get("invalid")) + " 0 0";
        for (int k = 0; k < weights.size(); k++) {
            double[] y = biases.get(k).clone();
            for (int i = 0; i < x.length; i++)
                for (int j = 0; j < y.length; j++) y[j] += x[i] * weights.get(k)[i][j];
            if (k < weights.size() - 1) for (int j = 0; j < y.length; j++) y[j] = Math.tanh(y[j]);
            x = y;
        }
        int action = 0;
        double answer;
        if (decode.get("read").equals("continuous")) {
            double share = 0.5 * (Math.tanh(x[0]) + 1);
            answer = Math.exp(number(decode.get("log_low")) + share * number(decode.get("log_ratio")));
            answer *= number(decode.get("scale"));
        } else {
            int best = 0;
            for (int i = 1; i < x.length; i++) if (x[i] > x[best]) best = i; // of equal ones the first
            action = best;
            if (decode.get("read").equals("sample")) {
                double sum = 0, total = 0, most = x[best];
                for (int i = 0; i < x.length; i++) sum += x[i] = Math.exp(x[i] - most);
                action = 0;
                for (int i = 0; i < x.length - 1; i++) if ((total += x[i]) <= u * sum) action++;
            }
            answer = table[action] + (base ? dials : 0);
        }
        answer = Math.min(Math.max(answer, number(decode.get("low"))), number(decode.get("high")));
        return action + " " + answer + " 1 " + (choices.length > 0 ? (int) choices[action] : 0);
    }

    public static void main(String[] args) throws IOException {
        Decide policy = new Decide(object(new Json(Files.readString(Path.of(args[0]))).read()));
        StringBuilder out = new StringBuilder();
        try (BufferedReader lines = args.length > 1
                ? Files.newBufferedReader(Path.of(args[1]))
                : new BufferedReader(new InputStreamReader(System.in))) {
            for (String line; (line = lines.readLine()) != null; )
                out.append(policy.answer(object(new Json(line).read()))).append('\n');
        }
        System.out.print(out);
    }
}
