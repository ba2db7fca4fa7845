using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace KvCache.Chaos.Fuzz;

/// <summary>What became of a format.</summary>
internal sealed record FuzzRow(string Format, long Inputs, double Seconds, IReadOnlyList<string> Failures);

/// <summary>What a run has seen.</summary>
internal sealed record FuzzReport(long Seed, DateTimeOffset Ended, double Seconds, int Cpus, IReadOnlyList<FuzzRow> Rows)
{
    public long Inputs => Rows.Sum(row => row.Inputs);

    [JsonIgnore]
    public bool IsGood => Rows.All(row => row.Failures.Count == 0);

    public string ToJson() => JsonSerializer.Serialize(this, FuzzJsonContext.Default.FuzzReport);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(FuzzReport))]
internal sealed partial class FuzzJsonContext : JsonSerializerContext;

/// <summary>Feeds mutated inputs to every parser and every kind of session.</summary>
internal static class FuzzRun
{
    private const int MostFailures = 5;

    /// <summary>Runs.</summary>
    /// <param name="inputs">How many inputs in this process.</param>
    /// <param name="liveInputs">How many at the sockets of a silo in a process of its own.</param>
    /// <param name="seed">What the inputs derive from.</param>
    /// <param name="tell">Hears how it goes on.</param>
    /// <param name="cancellationToken">Ends it early.</param>
    public static async Task<FuzzReport> RunAsync(
        long inputs, long liveInputs, long seed, Action<string> tell, CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        var rows = new List<FuzzRow>();
        await using (var silo = await InnerSilo.StartAsync().ConfigureAwait(false))
        {
            FuzzTarget[] targets =
                [.. ParserTarget.All(), new FrameTarget(silo), new AnswerTarget(), new RespTarget(silo), new LmTarget(silo),
                    new ZmtpTarget()];
            var weights = targets.Sum(target => target.Weight);
            foreach (var target in targets)
            {
                var row = Feed(target, (long)Math.Ceiling(inputs * target.Weight / weights), seed, cancellationToken);
                tell($"{row.Format}: {row.Inputs} inputs in {row.Seconds:0.0} s, {row.Failures.Count} failures");
                rows.Add(row);
                target.Dispose();
            }
        }

        if (liveInputs > 0 && !cancellationToken.IsCancellationRequested)
            rows.AddRange(await LiveFuzz.RunAsync(liveInputs, seed, tell, cancellationToken).ConfigureAwait(false));
        return new FuzzReport(seed, DateTimeOffset.UtcNow, Stopwatch.GetElapsedTime(began).TotalSeconds, Environment.ProcessorCount, rows);
    }

    private static FuzzRow Feed(FuzzTarget target, long inputs, long seed, CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        var failures = new List<string>();
        var mutator = new Mutator(unchecked((int)seed * 397) ^ Hash(target.Name));
        long fed = 0;
        while (fed < inputs && failures.Count < MostFailures && !cancellationToken.IsCancellationRequested)
        {
            try
            {
                fed += target.Feed(mutator);
            }
            catch (FuzzFailure e)
            {
                failures.Add(e.Message);
            }
        }

        if (target.Check() is { } problem)
            failures.Add(problem);
        return new FuzzRow(target.Name, fed, Stopwatch.GetElapsedTime(began).TotalSeconds, failures);
    }

    // The same in every process.
    private static int Hash(string text) => text.Aggregate(17, (hash, letter) => unchecked((hash * 31) + letter));
}
