using System.Runtime.InteropServices;

namespace KvCache.Engine.Recording;

/// <summary>
/// Puts the chains of requests together from the parts in which a store sees them, and names their blocks by small numbers, in the order in
/// which they come: nothing of a block's name leaves the silo.
/// </summary>
/// <param name="maxBlocks">Most different blocks; further ones are left out, and what comes behind them.</param>
internal sealed class RecordedChains(int maxBlocks)
{
    private const int None = -1;

    private readonly Dictionary<ulong, int> _ids = [];
    private readonly List<int> _before = []; // by id: the block before it, as far as is known
    private readonly Dictionary<long, RecordedRequest> _open = [];
    private readonly Queue<RecordedRequest> _byTime = new();

    /// <summary>Whether there is no room for further blocks.</summary>
    public bool IsFull => _ids.Count >= maxBlocks;

    /// <summary>Takes in a part.</summary>
    public void Add(in RecordedPart part)
    {
        ref var request = ref CollectionsMarshal.GetValueRefOrAddDefault(_open, part.Request, out var isKnown);
        if (!isKnown)
        {
            if (part.Chain.IsEmpty)
            {
                _open.Remove(part.Request); // it began before the recording, or is written already
                return;
            }

            request = new RecordedRequest(part.Request, part.Now, part.TokensPerBlock);
            _byTime.Enqueue(request);
        }

        request!.Told(part.Hint);
        var at = part.Chain.IsEmpty ? 0 : PlaceOf(request.Blocks, part.Before, part.Chain[0]);
        foreach (var fingerprint in part.Chain)
        {
            var id = IdOf(fingerprint);
            if (id == None)
                break;
            if (at > 0 && _before[id] == None)
                _before[id] = request.Blocks[at - 1];
            if (at < request.Blocks.Count && request.Blocks[at] != id)
                request.Blocks.RemoveRange(at, request.Blocks.Count - at);
            if (at == request.Blocks.Count)
                request.Blocks.Add(id);
            at++;
        }
    }

    /// <summary>Takes out the next request that began before a time, in their order; null when there is none.</summary>
    public RecordedRequest? TakeBefore(long time)
    {
        if (!_byTime.TryPeek(out var request) || request.Began >= time)
            return null;
        _open.Remove(request.Request);
        return _byTime.Dequeue();
    }

    // Where in a request's chain a part begins. What comes before it is put in where the request has not said it.
    private int PlaceOf(List<int> blocks, ulong before, ulong first)
    {
        if (before == 0)
        {
            var known = _ids.TryGetValue(first, out var id) ? blocks.LastIndexOf(id) : -1;
            return known >= 0 ? known : blocks.Count;
        }

        var last = IdOf(before);
        if (last == None)
            return blocks.Count;
        var place = blocks.LastIndexOf(last);
        if (place >= 0)
            return place + 1;
        blocks.Clear();
        for (var id = last; id != None; id = _before[id])
            blocks.Add(id);
        blocks.Reverse();
        return blocks.Count;
    }

    private int IdOf(ulong fingerprint)
    {
        if (_ids.TryGetValue(fingerprint, out var id))
            return id;
        if (IsFull)
            return None;
        _before.Add(None);
        _ids.Add(fingerprint, _before.Count - 1);
        return _before.Count - 1;
    }
}

/// <summary>A request of a recording.</summary>
/// <param name="request">Its number in the store.</param>
/// <param name="began">When it began, in milliseconds of the store's clock.</param>
/// <param name="tokensPerBlock">Tokens of a block.</param>
internal sealed class RecordedRequest(long request, long began, int tokensPerBlock)
{
    public long Request => request;

    public long Began => began;

    public int TokensPerBlock => tokensPerBlock;

    public List<int> Blocks { get; } = [];

    public CacheHint Hint { get; private set; } = new();

    /// <summary>More is known of it; what was not said stays.</summary>
    public void Told(CacheHint? hint)
    {
        if (hint is null)
            return;
        var keeps = hint.Priority is not null || hint.Retention is not null;
        Hint = Hint with
        {
            End = hint.End == AnswerEnd.Unknown ? Hint.End : hint.End,
            Kind = hint.Kind == TokenKind.Unknown ? Hint.Kind : hint.Kind,
            Priority = keeps ? hint.Priority : Hint.Priority,
            Retention = keeps ? hint.Retention : Hint.Retention,
        };
    }
}
