using System.Diagnostics;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>
/// Clients that read prefixes over and over, check every byte, and store what they miss, until they are stopped. What a cluster
/// does to them is a miss at worst: an exception or a wrong byte fails the test.
/// </summary>
internal sealed class Load : IAsyncDisposable
{
    private readonly CancellationTokenSource _done = new();
    private readonly KvCacheClient[] _clients;
    private readonly Task[] _workers;
    private long _hits, _misses, _stored, _slowest;

    private Load(KvCacheClient[] clients, Func<int, KvPrefix> prefixes, StoreOptions? storeMissing)
    {
        _clients = clients;
        _workers = [.. clients.Select((client, i) => Task.Run(() => WorkAsync(client, prefixes(i), storeMissing)))];
    }

    /// <summary>Loads that brought the whole prefix.</summary>
    public long Hits => Volatile.Read(ref _hits);

    /// <summary>Loads that did not.</summary>
    public long Misses => Volatile.Read(ref _misses);

    /// <summary>The longest call.</summary>
    public TimeSpan Slowest => TimeSpan.FromTicks(Volatile.Read(ref _slowest));

    /// <summary>Starts workers, and waits until each has loaded its prefix.</summary>
    /// <param name="clients">One a worker; they end with the load.</param>
    /// <param name="prefixes">The prefix of each.</param>
    /// <param name="storeMissing">How a worker stores a prefix that it misses, as an engine does; null to leave that to others.</param>
    public static async Task<Load> StartAsync(
        IEnumerable<KvCacheClient> clients, Func<int, KvPrefix> prefixes, StoreOptions? storeMissing = null)
    {
        var load = new Load([.. clients], prefixes, storeMissing);
        await load.MoreHitsAsync("the load is running", 4 * load._clients.Length);
        return load;
    }

    /// <summary>Waits for a number of further hits.</summary>
    public async Task<TimeSpan> MoreHitsAsync(string what, int count)
    {
        var before = Hits;
        return await Eventually.TrueAsync(what, () => Hits >= before + count || _workers.Any(worker => worker.IsFaulted));
    }

    /// <summary>Ends the load; fails when a worker did.</summary>
    public async Task StopAsync()
    {
        await _done.CancelAsync();
        await Task.WhenAll(_workers);
        Report.Line($"Load: {Hits} hits, {Misses} misses, {_stored} blocks stored; the slowest call took {Slowest.TotalMilliseconds:0} ms.");
    }

    public async ValueTask DisposeAsync()
    {
        await _done.CancelAsync();
        await Task.WhenAll(_workers).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var client in _clients)
            await client.DisposeAsync();
        _done.Dispose();
    }

    private async Task WorkAsync(KvCacheClient client, KvPrefix prefix, StoreOptions? storeMissing)
    {
        var memory = prefix.Memory(prefix.BlockCount);
        var blocks = prefix.Blocks();
        while (!_done.IsCancellationRequested)
        {
            var began = Stopwatch.GetTimestamp();
            var loaded = await client.LoadAsync(prefix, 0, memory);
            Took(began);
            for (var block = 0; block < loaded.Blocks; block++)
                Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
            if (loaded.Blocks == prefix.BlockCount)
            {
                Interlocked.Increment(ref _hits);
                await Task.Delay(10); // an engine computes between two loads
                continue;
            }

            Assert.NotEqual(MissReason.Refused, loaded.Reason);
            Interlocked.Increment(ref _misses);
            if (storeMissing is not null)
            {
                began = Stopwatch.GetTimestamp();
                var result = await client.StoreAsync(prefix, loaded.Blocks, blocks[loaded.Blocks..], storeMissing);
                Took(began);
                Assert.NotEqual(MissReason.Refused, result.Reason);
                Interlocked.Add(ref _stored, result.Stored);
            }

            await Task.Delay(10); // a miss costs an engine a prefill
        }
    }

    private void Took(long began)
    {
        var ticks = Stopwatch.GetElapsedTime(began).Ticks;
        for (var known = Volatile.Read(ref _slowest); ticks > known; known = Volatile.Read(ref _slowest))
            Interlocked.CompareExchange(ref _slowest, ticks, known);
    }
}
