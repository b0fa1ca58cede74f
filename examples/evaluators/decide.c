/* Evaluate a quietdial policy.json with C alone: cc -O2 -o decide decide.c -lm
   ./decide policy.json vectors.jsonl
   One line of answers for each line of vectors: action answer valid choice. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value of JSON: a number (also "NaN", "Infinity", "-Infinity", true and false), a text, or a
   list or object of n parts. */
typedef struct Json {
    char *key, *text;
    double number;
    int n;
    struct Json *part;
} Json;

static const char *skip(const char *s) { return s + strspn(s, " \t\r\n,:"); }

static const char *read_text(const char *s, char **out) {
    size_t length = 0;
    const char *from = ++s;
    for (; *s && *s != '"'; s++)
        s += *s == '\\' && s[1];
    length = (size_t)(s - from);
    *out = calloc(length + 1, 1);
    memcpy(*out, from, length);
    return *s ? s + 1 : s;
}

static const char *read_json(const char *s, Json *out) {
    memset(out, 0, sizeof *out);
    s = skip(s);
    if (*s == '{' || *s == '[') {
        int object = *s++ == '{';
        for (int room = 0; (s = skip(s)), *s && *s != '}' && *s != ']'; out->n++) {
            char *key = NULL;
            if (out->n == room)
                out->part = realloc(out->part, sizeof(Json) * (size_t)(room = 2 * room + 8));
            if (object)
                s = read_text(s, &key);
            s = read_json(s, &out->part[out->n]);
            out->part[out->n].key = key;
        }
        return *s ? s + 1 : s;
    }
    if (*s == '"') {
        s = read_text(s, &out->text);
        out->number = strtod(out->text, NULL); /* knows NaN and Infinity */
        return s;
    }
    if (*s == 't' || *s == 'f' || *s == 'n') {
        out->number = *s == 't';
        return s + strspn(s, "truefalsn");
    }
    char *end;
    out->number = strtod(s, &end);
    return end > s ? end : s + 1;
}

static Json *get(const Json *object, const char *key) {
    static Json none;
    for (int i = 0; i < object->n; i++)
        if (object->part[i].key && !strcmp(object->part[i].key, key))
            return &object->part[i];
    return &none;
}

static double at(const Json *object, const char *key) { return get(object, key)->number; }

static void decide(const Json *policy, const Json *row) {
    const Json *d = get(policy, "decode"), *low = get(policy, "low"), *high = get(policy, "high");
    const Json *obs = get(row, "obs"), *layers = get(policy, "layers"), *choices = get(d, "choices");
    double base = at(row, "base_dials"), u = at(row, "uniform"), answer;
    int add = at(d, "base") != 0, action = 0, best = 0, n = obs->n;
    int valid = n == low->n && base >= 0 && u >= 0 && u < 1 && !(add && base > at(d, "high"));
    valid = valid && !(add && !get(row, "base_dials")->key); /* missing: invalid */
    valid = valid && (strcmp(get(d, "read")->text, "sample") || get(row, "uniform")->key);
    double *x = malloc(sizeof(double) * (size_t)(n + 1));
    for (int i = 0; i < n && valid; i++) {
        x[i] = (float)obs->part[i].number;
        valid = x[i] >= low->part[i].number && x[i] <= high->part[i].number;
    }
    if (!valid) {
        printf("-1 %.17g 0 0\n", at(d, "invalid"));
        free(x);
        return;
    }
    for (int k = 0; k < layers->n; k++) {
        const Json *w = get(&layers->part[k], "w"), *b = get(&layers->part[k], "b");
        int smooth = !strcmp(get(&layers->part[k], "act")->text, "tanh");
        double *y = malloc(sizeof(double) * (size_t)b->n);
        for (int j = 0; j < b->n; j++) {
            y[j] = b->part[j].number;
            for (int i = 0; i < n; i++)
                y[j] += x[i] * w->part[i].part[j].number;
            y[j] = smooth ? tanh(y[j]) : y[j];
        }
        free(x);
        x = y;
        n = b->n;
    }
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best; /* of equal ones the first */
    if (!strcmp(get(d, "read")->text, "continuous")) {
        double share = 0.5 * (tanh(x[0]) + 1);
        answer = exp(at(d, "log_low") + share * at(d, "log_ratio")) * at(d, "scale");
    } else {
        action = best;
        if (!strcmp(get(d, "read")->text, "sample")) {
            double sum = 0, total = 0, most = x[best];
            for (int i = 0; i < n; i++)
                sum += x[i] = exp(x[i] - most);
            for (int i = action = 0; i < n - 1; i++)
                action += (total += x[i]) <= u * sum;
        }
        answer = get(d, "table")->part[action].number + (add ? base : 0);
    }
    answer = fmin(fmax(answer, at(d, "low")), at(d, "high"));
    printf("%d %.17g 1 %d\n", action, answer, choices->n ? (int)choices->part[action].number : 0);
    free(x);
}

static void release(Json *value) {
    for (int i = 0; i < value->n; i++)
        release(&value->part[i]);
    free(value->part);
    free(value->text);
    free(value->key);
}

int main(int argc, char **argv) {
    char *line = NULL;
    size_t room = 0;
    Json policy, row;
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    FILE *vectors = argc > 2 ? fopen(argv[2], "r") : stdin;
    if (!file || !vectors || getline(&line, &room, file) < 0)
        return fprintf(stderr, "usage: decide policy.json vectors.jsonl\n"), 2;
    read_json(line, &policy);
    while (getline(&line, &room, vectors) > 0) {
        read_json(line, &row);
        decide(&policy, &row);
        release(&row);
    }
    release(&policy);
    free(line);
    return 0;
}
