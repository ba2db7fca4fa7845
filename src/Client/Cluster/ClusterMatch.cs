using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>
/// One match: a question to the home silo, which knows what the whole cluster holds. With a hold it says where the blocks are, too, and the
/// other silos that have some are asked to keep them; one that does not answer in time keeps nothing, and the match is good all the same. A
/// chain that is longer than a request is asked for in pieces.
/// </summary>
internal sealed class ClusterMatch
{
    private readonly SiloDirectory _silos;
    private readonly RankGroup _group;
    private readonly PrefixChain _chain;
    private readonly TimeSpan _hold;
    private readonly CallBudget _budget;
    private readonly TimeSpan _releaseTimeout;
    private readonly CacheHint? _hint;

    public ClusterMatch(
        SiloDirectory silos, RankGroup group, PrefixChain chain, TimeSpan hold, CallBudget budget, TimeSpan releaseTimeout, CacheHint? hint)
    {
        _hint = hint;
        _silos = silos;
        _group = group;
        _chain = chain;
        _hold = hold;
        _budget = budget;
        _releaseTimeout = releaseTimeout;
    }

    public async ValueTask<CacheMatch> RunAsync()
    {
        var found = 0;
        var reason = MissReason.None;
        var holds = new List<MatchHold>();
        var origin = _hold > TimeSpan.Zero ? new MatchedChain(_chain) : null;
        try
        {
            foreach (var (first, count) in RequestPieces.Of(0, _chain.BlockCount, WireProtocol.MaxBlocksPerRequest))
            {
                (var more, reason) = await MatchPieceAsync(first, count, holds, origin).ConfigureAwait(false);
                found += more;
                if (more < count)
                    break;
            }
        }
        catch
        {
            await ReleaseAsync(holds).ConfigureAwait(false);
            throw;
        }

        return new CacheMatch(found, _chain.TokensPerBlock, reason, holds.Count == 0 ? null : () => new ValueTask(ReleaseAsync(holds)))
        {
            Origin = origin,
            Error = _silos.Failure.Of(reason, _budget.Began),
        };
    }

    private async ValueTask<(int Found, MissReason Reason)> MatchPieceAsync(
        int first, int count, List<MatchHold> holds, MatchedChain? origin)
    {
        var locations = origin is null ? [] : new BlockLocations?[_group.Count];
        BlockConnection? matched = null;
        var (found, holdId) = (0, 0UL);
        var (reason, home) = await _budget.RunAsync(_silos.Homes, silo => silo.Control, connection =>
        {
            (found, holdId) = connection.Match(_group.Namespaces, _chain.Hashes.Slice(first, count), _hold, locations, _hint);
            matched = connection;
            return found == count ? MissReason.None : MissReason.Absent;
        }).ConfigureAwait(false);
        if (home is null)
            return (0, reason);

        var hold = holdId == 0 ? null : new MatchHold(home, matched!, holdId);
        if (hold is not null)
            holds.Add(hold);
        if (found > 0)
            origin?.Add(new MatchedPiece(_group, home, hold, first, found, locations));
        var others = await Task.WhenAll(HoldPlan.Of(_group.Namespaces, locations).Select(step => HoldElsewhereAsync(step, first)))
            .ConfigureAwait(false);
        foreach (var other in others)
        {
            if (other is not null)
                holds.Add(other);
        }

        return (found, reason);
    }

    private async Task<MatchHold?> HoldElsewhereAsync(HoldStep step, int first)
    {
        if (_silos.Find(step.Endpoints) is not { } silo)
            return null;
        MatchHold? hold = null;
        await _budget.RunAsync(
            silo.Control,
            connection =>
            {
                var hashes = new BlockHash[step.Blocks.Count];
                var next = 0;
                foreach (var block in step.Blocks)
                    hashes[next++] = _chain.Hashes[first + block];
                var (_, id) = connection.Match(step.Namespaces.ToArray(), hashes, _hold);
                hold = id == 0 ? null : new MatchHold(silo, connection, id);
                return MissReason.None;
            },
            isPatient: false).ConfigureAwait(false);
        return hold;
    }

    private Task ReleaseAsync(List<MatchHold> holds) => Task.WhenAll(holds.Where(hold => !hold.IsOver).Select(ReleaseAsync));

    // The hold lives on the connection that made it; when that is gone, so is the hold.
    private async Task ReleaseAsync(MatchHold hold)
    {
        using var call = new SiloCall(
            connection =>
            {
                if (ReferenceEquals(connection, hold.Connection))
                    connection.Release(hold.Id);
                return MissReason.None;
            },
            _releaseTimeout,
            CancellationToken.None);
        await hold.Silo.Control.RunAsync(call).ConfigureAwait(false);
    }
}
