using System.Diagnostics;
using KvCache.Bench.Measuring;

namespace KvCache.Bench.Disk;

/// <summary>One way to move all bytes to the disk or from it.</summary>
/// <param name="name">Row name.</param>
/// <param name="comparedWith">What it is divided by.</param>
/// <param name="bytes">Bytes that a run moves.</param>
/// <param name="prepare">What has to be before a run, and is not measured.</param>
/// <param name="run">Moves them.</param>
internal sealed class DiskContender(string name, IReadOnlyList<string> comparedWith, long bytes, Action prepare, Action run) : IContender
{
    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public IReadOnlyList<string> ComparedWith => comparedWith;

    /// <inheritdoc/>
    public double Measure()
    {
        prepare();
        var began = Stopwatch.GetTimestamp();
        run();
        return bytes / Stopwatch.GetElapsedTime(began).TotalSeconds / (1L << 30);
    }
}
