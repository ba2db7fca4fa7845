using KvCache.Bench.Measuring;

namespace KvCache.Bench.FirstToken;

/// <summary>
/// A round: the whole prefill once, as it takes seconds, and everything else several times in turns, as a load adds less to a computation
/// than one computation differs from the next.
/// </summary>
/// <param name="runs">Times of every contender in milliseconds, turn by turn.</param>
internal sealed class TtftRound(IReadOnlyDictionary<string, double[]> runs)
{
    public static List<TtftRound> Run(
        IReadOnlyList<TtftContender> contenders, int rounds, int turns, Action<string> log, CancellationToken cancellation)
    {
        var done = new List<TtftRound>();
        var cold = contenders.First(contender => contender.Name == TtftContenders.Cold);
        List<TtftContender> others = [.. contenders.Where(contender => contender != cold)];
        for (var round = 0; round < rounds; round++)
        {
            cancellation.ThrowIfCancellationRequested();
            var runs = new Dictionary<string, double[]> { [cold.Name] = [cold.Measure()] };
            foreach (var (contender, figures) in others.Zip(InterleavedRounds.Run(others, turns, cancellation)))
                runs.Add(contender.Name, figures);
            done.Add(new TtftRound(runs));
            log($"Round {round + 1} of {rounds}: {TtftContenders.Cold} {runs[cold.Name][0]:0} ms");
        }

        return done;
    }

    /// <summary>The figure of a contender.</summary>
    public double Median(string contender) => Summary.Of(runs[contender]).Median;

    /// <summary>
    /// The share of a load that cost no time: 1 when the first token came as early as with the KV in place, 0 when as late as the load
    /// alone takes. The difference is
    /// taken within a turn.
    /// </summary>
    /// <param name="warm">The way to the first token.</param>
    /// <param name="load">Its load alone.</param>
    public double Hidden(string warm, string load) =>
        1 - (Summary.Of([.. runs[warm].Zip(runs[TtftContenders.Resident], (time, resident) => time - resident)]).Median / Median(load));
}
