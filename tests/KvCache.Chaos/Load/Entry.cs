using System.Collections.Immutable;

namespace KvCache.Chaos.Load;

/// <summary>
/// What a reader may see of an entry, as its only writer knows it. Versions count from 1; a new one begins when the last one is gone, so
/// that its bytes tell whether it has come back.
/// </summary>
internal sealed record EntryState
{
    /// <summary>The highest version that was ever sent.</summary>
    public int Attempted { get; init; }

    /// <summary>The highest version whose deletion was confirmed.</summary>
    public int Deleted { get; init; }

    /// <summary>Versions of which a write ended without a clear answer: they may appear at any later time, and promise nothing.</summary>
    public ImmutableHashSet<int> Uncertain { get; init; } = [];

    /// <summary>When lives ended at the latest, by version, in ticks of the monotonic clock.</summary>
    public ImmutableDictionary<int, long> Ends { get; init; } = ImmutableDictionary<int, long>.Empty;

    /// <summary>For values that replace one another: the latest version that was acknowledged, and when.</summary>
    public int Acknowledged { get; init; }

    /// <inheritdoc cref="Acknowledged"/>
    public long AcknowledgedAt { get; init; }

    /// <summary>Whether nothing of the last version may be there any more, or will be there for ever.</summary>
    public bool IsOver => Attempted <= Deleted || Ends.ContainsKey(Attempted);
}

/// <summary>Something that is stored: a chain of blocks, or a value. One worker writes it, everybody reads it.</summary>
/// <param name="number">Its number in the run, which its content derives from.</param>
internal abstract class Entry(int number)
{
    private EntryState _state = new();

    public int Number => number;

    /// <summary>What is known now. Read before a read begins: what happens meanwhile is no promise to it.</summary>
    public EntryState State => Volatile.Read(ref _state);

    /// <summary>Changes what is known. By its worker only.</summary>
    public void Change(Func<EntryState, EntryState> change) => Volatile.Write(ref _state, change(_state));
}

/// <summary>A chain of blocks.</summary>
internal sealed class Chain(int number, KvPrefix prefix) : Entry(number)
{
    public KvPrefix Prefix => prefix;

    public int Blocks => prefix.BlockCount;

    public int BlockBytes => prefix.Namespace.Layout.BlockBytes;
}

/// <summary>A value of the Redis endpoint.</summary>
internal sealed class KeyValue(int number, int bytes) : Entry(number)
{
    public string Key => $"chaos:{Number}";

    public int Bytes => bytes;
}
