using System.Diagnostics;
using KvCache.Bench.Measuring;

namespace KvCache.Bench.Codec;

/// <summary>A pass over memory, again and again for as long as a round takes.</summary>
/// <param name="name">Row name.</param>
/// <param name="comparedWith">Names of the yardsticks.</param>
/// <param name="bytes">Bytes that one pass counts for.</param>
/// <param name="pass">One pass.</param>
internal sealed class RateContender(string name, IReadOnlyList<string> comparedWith, long bytes, Action pass) : IContender
{
    private const double Gib = 1L << 30;
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(100);

    public string Name => name;

    public IReadOnlyList<string> ComparedWith => comparedWith;

    /// <returns>GiB/s.</returns>
    public double Measure()
    {
        var start = Stopwatch.GetTimestamp();
        var passes = 0L;
        TimeSpan elapsed;
        do
        {
            pass();
            passes++;
            elapsed = Stopwatch.GetElapsedTime(start);
        }
        while (elapsed < Round);
        return bytes * passes / elapsed.TotalSeconds / Gib;
    }
}
