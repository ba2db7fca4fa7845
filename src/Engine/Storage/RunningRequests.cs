using System.Runtime.CompilerServices;
using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <summary>
/// The requests that were served last. A store is asked block by block, and policies learn from requests: what goes on where a request has
/// just stopped is a part of it.
/// </summary>
internal sealed class RunningRequests
{
    private const int Kept = 512;
    private const long LongestPause = 10_000; // milliseconds; afterwards what goes on is another turn

    private readonly Running[] _ring = new Running[Kept];
    private long _last;

    /// <summary>A number for a new request.</summary>
    public long Next() => ++_last;

    /// <summary>Takes notice of what is known of a request.</summary>
    public void Set(in ChainUse use, BlockNode? tail, ulong id) =>
        _ring[use.Request % Kept] = new Running { Use = use, Tail = tail, Id = id };

    /// <summary>A request by its number; a null reference when it is forgotten.</summary>
    public ref Running Find(long request)
    {
        ref var running = ref _ring[request % Kept];
        return ref request > 0 && running.Use.Request == request ? ref running : ref Unsafe.NullRef<Running>();
    }

    /// <summary>The request that has used a block last of all its blocks, and goes on behind it; a null reference when there is
    /// none.</summary>
    /// <param name="tail">The block.</param>
    /// <param name="id">Id that its client gave it; 0 for none.</param>
    /// <param name="now">Time in milliseconds.</param>
    public ref Running FindEndingAt(BlockNode? tail, ulong id, long now)
    {
        ref var running = ref Find(tail?.Request ?? 0);
        return ref !Unsafe.IsNullRef(ref running) && running.Tail == tail && (id == 0 || running.Id == 0 || running.Id == id)
            && now - running.Use.Now <= LongestPause
                ? ref running
                : ref Unsafe.NullRef<Running>();
    }

    internal struct Running
    {
        public ChainUse Use;
        public BlockNode? Tail; // the block that it used last
        public ulong Id;

        /// <summary>What is told of it later holds for what it uses from now on, too, unless it is over.</summary>
        public void Told(AnswerEnd end, KeepTerms keep, bool ends)
        {
            if (end != AnswerEnd.Unknown)
                Use.End = end;
            if (keep.IsTold)
                Use.Keep = keep;
            if (ends)
                Tail = null;
        }
    }
}
