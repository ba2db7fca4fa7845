using System.Runtime.CompilerServices;
using KvCache.Engine.Recording;
using KvCache.Eviction;
using KvCache.Hashing;

namespace KvCache.Engine.Storage;

/// <summary>What the caller knows of a request.</summary>
/// <param name="TokensPerBlock">Tokens of a block.</param>
/// <param name="Id">Id that its client gave it; 0 for none.</param>
/// <param name="SuffixTokens">Tokens that it appends behind what was cached; 0 when unknown: then its blocks tell.</param>
/// <param name="Hint">What its client says of when its blocks are used again.</param>
/// <param name="IsPut">Whether it brings the blocks, and does not ask for them.</param>
internal readonly record struct RequestFacts(
    int TokensPerBlock, ulong Id = 0, int SuffixTokens = 0, CacheHint? Hint = null, bool IsPut = false);

/// <content>What the eviction policies are told of use.</content>
internal sealed partial class BlockStore
{
    private readonly RunningRequests _requests = new();
    private RequestRecording? _recording;

    [ThreadStatic]
    private static ulong[]? _chain;

    /// <summary>Begins to tell a recording of all requests; there is one at a time.</summary>
    /// <returns>False when there is another one.</returns>
    public bool TryRecord(RequestRecording recording) => Interlocked.CompareExchange(ref _recording, recording, null) is null;

    /// <summary>Ends a recording.</summary>
    public void EndRecording(RequestRecording recording)
    {
        Interlocked.CompareExchange(ref _recording, null, recording);
        recording.Stop();
    }

    /// <summary>
    /// A request begins to read or to store blocks of a chain, or goes on behind those that it has just used. Names it for the calls that
    /// follow. Without it, what is used block by block is taken for one request as long as it goes on in the order of the chain.
    /// </summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="parent">Block before the first one; zero when there is none, or it is not known.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="facts">What is known of it.</param>
    public long BeginRequest(NamespaceId ns, BlockHash parent, ReadOnlySpan<BlockHash> hashes, in RequestFacts facts)
    {
        if (hashes.IsEmpty)
            return 0;
        var chain = _chain?.Length >= hashes.Length ? _chain : _chain = new ulong[Math.Max(64, 2 * hashes.Length)];
        for (var i = 0; i < hashes.Length; i++)
        {
            var key = new BlockKey(ns, hashes[i]);
            chain[i] = KeyHash.Fingerprint(in key);
        }

        var account = Accounts.Of(ns);
        var resident = CountResident(account, ns, hashes, out var last);
        using (Enter())
        {
            if (last is { Entry: null })
                resident = CountResident(account, ns, hashes, out last); // it went while others were looked for
            var before = parent.IsZero ? _nodes.Find(new BlockKey(ns, hashes[0]))?.Parent : _nodes.Find(new BlockKey(ns, parent));
            return BeginRequest(account, before, last, chain.AsSpan(0, hashes.Length), resident, facts, _deadlines.EnteredMilliseconds);
        }
    }

    private int CountResident(TenantAccount account, NamespaceId ns, ReadOnlySpan<BlockHash> hashes, out BlockNode? last)
    {
        last = null;
        for (var i = 0; i < hashes.Length; i++)
        {
            var node = _nodes.Find(new BlockKey(ns, hashes[i]));
            if (node?.Visible is null || node.Account != account)
                return i;
            last = node;
        }

        return hashes.Length;
    }

    private long BeginRequest(
        TenantAccount account, BlockNode? before, BlockNode? last, ReadOnlySpan<ulong> chain, int resident, in RequestFacts facts,
        long now)
    {
        ref var earlier = ref _requests.FindEndingAt(before, facts.Id, now);
        var goesOn = !Unsafe.IsNullRef(ref earlier);
        var use = new ChainUse
        {
            Request = goesOn ? earlier.Use.Request : _requests.Next(),
            Now = now,
            Tokens = chain.Length * facts.TokensPerBlock,
            TokensPerBlock = facts.TokensPerBlock,
            End = facts.Hint?.End ?? AnswerEnd.Unknown,
            Keep = KeepOf(facts.Hint),
        };
        if (goesOn && use.End == AnswerEnd.Unknown)
            use.End = earlier.Use.End;
        if (goesOn && !use.Keep.IsTold)
            use.Keep = earlier.Use.Keep;
        last ??= before is { Entry: not null } && before.Account == account ? before : null;
        var policy = BlocksOf(account).Policy;
        policy.Look(chain, resident, last?.Slot ?? -1, ref use);
        BlocksOf(account).Curve?.Serve(chain, use, facts.IsPut);
        if (goesOn)
        {
            if (resident == 0 && use.SuffixTokens == use.Tokens)
                (use.Gap, use.Level) = (earlier.Use.Gap, earlier.Use.Level); // nothing more of it is known
            use.SuffixTokens += earlier.Use.SuffixTokens;
        }

        if (facts.SuffixTokens > 0)
            use.SuffixTokens = facts.SuffixTokens;
        if (goesOn && before is { Entry: not null } && ReuseClass.With(0, earlier.Use) != ReuseClass.With(0, use))
            policy.Tell(before.Slot, use);
        if (_recording is { } recording)
            recording.Add(new RecordedPart(use.Request, now, before?.Fingerprint ?? 0, chain, facts.TokensPerBlock, facts.Hint));
        _requests.Set(use, before, goesOn && facts.Id == 0 ? earlier.Id : facts.Id);
        return use.Request;
    }

    /// <summary>Something is known of a request's chain after it was used.</summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="chain">The chain, or the end of it: the last block that is here counts, and those before it that the same request has
    /// used last.</param>
    /// <param name="hint">What is known.</param>
    /// <param name="ends">Whether the request is over: what is put behind its blocks is another one's.</param>
    /// <returns>Whether a block of it is here.</returns>
    public bool Tell(NamespaceId ns, ReadOnlySpan<BlockHash> chain, CacheHint hint, bool ends = true)
    {
        using (Enter())
        {
            for (var i = chain.Length - 1; i >= 0; i--)
            {
                if (_nodes.Find(new BlockKey(ns, chain[i])) is not { Entry: not null } node)
                    continue;
                ref var running = ref _requests.Find(node.Request);
                var isKnown = !Unsafe.IsNullRef(ref running);
                var use = isKnown ? running.Use : new ChainUse { Request = node.Request, SuffixTokens = -1 };
                (use.Now, use.End, use.Keep) = (_deadlines.NowMilliseconds, hint.End, KeepOf(hint));
                BlocksOf(node.Account).Policy.Tell(node.Slot, use);
                if (isKnown)
                    running.Told(hint.End, use.Keep, ends);
                _recording?.Add(new RecordedPart(node.Request, use.Now, 0, [], 0, hint));
                _counters.Hints++;
                return true;
            }
        }

        return false;
    }

    private KeepTerms KeepOf(CacheHint? hint) => hint is null
        ? default
        : KeepTerms.Of(hint.Priority, hint.Retention is { } asked && asked < _options.MaxRetention ? asked
            : hint.Retention is null ? TimeSpan.Zero : _options.MaxRetention);

    // The request of a block that is used: the one that was named, or else the one that comes by it.
    private ref RunningRequests.Running RequestOf(
        BlockNode node, BlockNode? before, long request, int tokensPerBlock, in BlockLineage lineage, long now)
    {
        ref var running = ref _requests.Find(request);
        if (!Unsafe.IsNullRef(ref running))
            return ref running;
        var fingerprint = node.Fingerprint;
        var resident = node.Entry is null ? 0 : 1;
        return ref _requests.Find(BeginRequest(
            node.Account, before, resident == 0 ? null : node, new ReadOnlySpan<ulong>(in fingerprint), resident,
            new RequestFacts(tokensPerBlock, lineage.RequestId, resident == 0 ? lineage.SuffixTokens : 0, IsPut: resident == 0), now));
    }

    private void Use(BlockNode node, BlockEntry entry, long request, long now)
    {
        ref var running = ref RequestOf(node, node.Parent, request, entry.Layout.TokensPerBlock, default, now);
        entry.LastUse = ++_useClock;
        BlocksOf(node.Account).RenewCopy(node);
        running.Tail = node;
        if (node.Request == running.Use.Request)
            return; // one request uses it once
        running.Use.Now = Math.Max(running.Use.Now, now);
        node.Request = running.Use.Request;
        entry.WasReused = true;
        if (entry.WasReadAhead)
        {
            entry.WasReadAhead = false;
            _counters.UsedAhead++;
        }

        BlocksOf(node.Account).Touch(node, running.Use);
    }
}
