using System.Diagnostics;
using KvCache.Chaos.Checkers;

namespace KvCache.Chaos.Load;

/// <summary>One of those who use the cache.</summary>
internal abstract class Worker(Journal journal, SeededContent content, Random dice) : IAsyncDisposable
{
    protected Journal Journal => journal;

    protected SeededContent Content => content;

    protected Random Dice => dice;

    /// <summary>Works until it is told to stop.</summary>
    public async Task RunAsync(TimeSpan pace, CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            await StepAsync().ConfigureAwait(false);
            if (pace > TimeSpan.Zero)
                await Task.Delay(pace, CancellationToken.None).ConfigureAwait(false);
        }
    }

    public abstract ValueTask DisposeAsync();

    protected abstract Task StepAsync();

    /// <summary>Makes a call that must not throw, and tells of it.</summary>
    /// <returns>What it returned; the default where it threw.</returns>
    protected async Task<T> CallAsync<T>(string kind, Func<ValueTask<T>> call, Func<T, MissReason> reasonOf)
    {
        var began = Stopwatch.GetTimestamp();
        try
        {
            var result = await call().ConfigureAwait(false);
            journal.Called(new CacheCall(kind, began, Stopwatch.GetTimestamp(), reasonOf(result), null));
            return result;
        }
        catch (Exception e)
        {
            journal.Called(new CacheCall(kind, began, Stopwatch.GetTimestamp(), MissReason.None, e));
            return default!;
        }
    }

    /// <summary>Tells what a block that was read is.</summary>
    protected void Tell(Chain chain, int block, ReadOnlySpan<byte> bytes, EntryState before, long began, string door) =>
        journal.Read(new BlockRead(chain, block, content.VersionOf(bytes, chain.Number, block), before, began, door));

    /// <summary>The version to store now, and that it is told to be under way; 0 where the chain has to end first.</summary>
    protected static int NextVersion(Chain chain, bool isMortal)
    {
        var state = chain.State;
        var lives = state.Ends.TryGetValue(state.Attempted, out var end)
            && Stopwatch.GetElapsedTime(end) < LifeChecker.Tolerance;
        if (lives || (isMortal && !state.IsOver))
            return 0;
        var version = state.IsOver ? state.Attempted + 1 : state.Attempted;
        chain.Change(now => now with { Attempted = version });
        return version;
    }

    protected static long After(TimeSpan life) => Stopwatch.GetTimestamp() + (long)(life.TotalSeconds * Stopwatch.Frequency);

    protected static void MarkUncertain(Entry entry, int version) =>
        entry.Change(state => state with { Uncertain = state.Uncertain.Add(version) });

    protected ReadOnlyMemory<byte>[] BlocksOf(Chain chain, int version)
    {
        var blocks = new ReadOnlyMemory<byte>[chain.Blocks];
        for (var i = 0; i < blocks.Length; i++)
        {
            var bytes = new byte[chain.BlockBytes];
            content.Fill(bytes, chain.Number, i, version);
            blocks[i] = bytes;
        }

        return blocks;
    }
}
