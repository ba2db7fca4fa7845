using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>
/// One match: a question to the home silo, which knows what the whole cluster holds. With a hold, the other silos that have found blocks
/// are asked to keep them too; one that does not answer in time keeps nothing, and the match is good all the same. A chain that is longer
/// than a request is asked for in pieces.
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
        var holds = new List<Hold>();
        try
        {
            foreach (var (first, count) in RequestPieces.Of(0, _chain.BlockCount, WireProtocol.MaxBlocksPerRequest))
            {
                (var more, reason) = await MatchPieceAsync(first, count, holds).ConfigureAwait(false);
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

        return new CacheMatch(found, _chain.TokensPerBlock, reason, holds.Count == 0 ? null : () => new ValueTask(ReleaseAsync(holds)));
    }

    private async ValueTask<(int Found, MissReason Reason)> MatchPieceAsync(int first, int count, List<Hold> holds)
    {
        BlockLocations[] locations = [];
        BlockConnection? matched = null;
        var (found, holdId) = (0, 0UL);
        var (reason, home) = await _budget.RunAsync(_silos.Homes, silo => silo.Control, connection =>
        {
            locations = [];
            (found, holdId) = connection.Match(_group.Namespaces, _chain.Hashes.Slice(first, count), _hold, _hint);
            matched = connection;
            if (_hold > TimeSpan.Zero && found > 0)
                locations = Locate(connection, first, found);
            return found == count ? MissReason.None : MissReason.Absent;
        }).ConfigureAwait(false);
        if (home is null)
            return (0, reason);

        if (holdId != 0)
            holds.Add(new Hold(home, matched!, holdId));
        var others = await Task.WhenAll(HoldPlan.Of(_group.Namespaces, locations).Select(step => HoldElsewhereAsync(step, first)))
            .ConfigureAwait(false);
        foreach (var other in others)
        {
            if (other is not null)
                holds.Add(other);
        }

        return (found, reason);
    }

    private BlockLocations[] Locate(BlockConnection connection, int first, int found)
    {
        var locations = new BlockLocations[_group.Count];
        for (var rank = 0; rank < locations.Length; rank++)
            locations[rank] = connection.Locate(_group.Namespaces[rank], _chain.Hashes.Slice(first, found));
        return locations;
    }

    private async Task<Hold?> HoldElsewhereAsync(HoldStep step, int first)
    {
        if (_silos.Find(step.Endpoints) is not { } silo)
            return null;
        Hold? hold = null;
        await _budget.RunAsync(
            silo.Control,
            connection =>
            {
                var hashes = new BlockHash[step.Blocks.Count];
                var next = 0;
                foreach (var block in step.Blocks)
                    hashes[next++] = _chain.Hashes[first + block];
                var (_, id) = connection.Match(step.Namespaces.ToArray(), hashes, _hold);
                hold = id == 0 ? null : new Hold(silo, connection, id);
                return MissReason.None;
            },
            isPatient: false).ConfigureAwait(false);
        return hold;
    }

    private Task ReleaseAsync(List<Hold> holds) => Task.WhenAll(holds.Select(ReleaseAsync));

    // The hold lives on the connection that made it; when that is gone, so is the hold.
    private async Task ReleaseAsync(Hold hold)
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

    private sealed record Hold(SiloConnector Silo, BlockConnection Connection, ulong Id);
}
