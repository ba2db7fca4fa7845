using System.Threading.Channels;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Counts reads of blocks that lie on other silos, in a table of fixed size, and takes copies of those that are read often. Two blocks that
/// share a place in the table count as one; that costs a needless copy now and then, and no memory.
/// </summary>
internal sealed class RemoteReads(BlockFetcher fetcher, BlockStore store, IOptions<ClusterOptions> options) : ILoop
{
    private const int Places = 1 << 16;
    private const int MaxQueued = 1024;
    private static readonly TimeSpan Memory = TimeSpan.FromMinutes(1);

    private readonly byte[] _counts = new byte[Places];
    private readonly Channel<BlockKey> _wanted =
        Channel.CreateBounded<BlockKey>(new BoundedChannelOptions(MaxQueued) { SingleReader = true });

    /// <summary>A block of another silo is being read by somebody here.</summary>
    public void Note(BlockKey key)
    {
        if (options.Value.CopyAfterReads == 0)
            return;
        ref var count = ref _counts[(uint)key.GetHashCode() % Places];
        if (++count < options.Value.CopyAfterReads)
            return;
        count = 0;
        _wanted.Writer.TryWrite(key);
    }

    public async Task RunAsync(CancellationToken stoppingToken)
    {
        using var timer = new Timer(_ => Array.Clear(_counts), null, Memory, Memory);
        await foreach (var key in _wanted.Reader.ReadAllAsync(stoppingToken))
        {
            if (!store.Contains(key))
                await Task.Factory.StartNew(
                    () => fetcher.TakeCopy(key), stoppingToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }
    }
}
