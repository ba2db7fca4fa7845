using System.Diagnostics;
using KvCache.Engine.Index;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>An index of a million blocks, built once.</summary>
public sealed class MillionBlocks
{
    public const int Count = 1_000_000;

    public MillionBlocks()
    {
        var watch = Stopwatch.StartNew();
        for (var i = 0; i < Count; i++)
            Index.Add(Keys.Key(i), i % 8);
        AddTime = watch.Elapsed;
    }

    internal PrefixIndex Index { get; } = new();

    public TimeSpan AddTime { get; }
}

public sealed class PrefixIndexBudgetTests(MillionBlocks million, ITestOutputHelper output) : IClassFixture<MillionBlocks>
{
    private const int Blocks = 512;

    [Fact]
    public void A_block_costs_at_most_128_bytes()
    {
        var bytes = (double)million.Index.MemoryBytes / MillionBlocks.Count;
        output.WriteLine($"{bytes:F1} bytes a block; {million.AddTime.TotalMilliseconds * 1e6 / MillionBlocks.Count:F0} ns an Add");
        Assert.InRange(bytes, 64, 128);
    }

    [Fact]
    public void The_slack_is_bounded_at_every_size()
    {
        var index = new PrefixIndex();
        for (var i = 0; i < 200_000; i++)
        {
            index.Add(Keys.Key(i), 0);
            if (i >= 50_000 && i % 1000 == 0)
                Assert.InRange((double)index.MemoryBytes / (i + 1), 64, 128);
        }
    }

    [Fact]
    public void A_match_allocates_nothing()
    {
        var hashes = Keys.Hashes(1000, Blocks);
        var holders = new ulong[Blocks];
        Assert.Equal(Blocks, million.Index.Match(Keys.Namespace, hashes, holders));
        Assert.Equal(0, Allocations.Of(() => million.Index.Match(Keys.Namespace, hashes, holders)));
    }

    [Fact]
    public void The_time_of_a_match_is_printed()
    {
        // Another prompt each time: the lines of the last one are in the processor's caches.
        var random = new Random(1);
        var prompts = Enumerable.Range(0, 400)
            .Select(_ => Enumerable.Range(0, Blocks).Select(_ => Keys.Hash(random.Next(MillionBlocks.Count))).ToArray()).ToArray();
        var holders = new ulong[Blocks];
        var times = new double[prompts.Length];
        for (var round = 0; round < 10; round++)
        {
            for (var i = 0; i < prompts.Length; i++)
            {
                var start = Stopwatch.GetTimestamp();
                var found = million.Index.Match(Keys.Namespace, prompts[i], holders);
                times[i] = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
                Assert.Equal(Blocks, found);
            }
        }

        Array.Sort(times);
        output.WriteLine(
            $"Match of {Blocks} blocks among {MillionBlocks.Count:N0}: least {times[0]:F1} µs, median {times[times.Length / 2]:F1} µs, "
            + $"99th percentile {times[times.Length * 99 / 100]:F1} µs");
    }
}
