using KvCache.Client.Connections;

namespace KvCache.Client.Cluster;

/// <summary>
/// One layer-wise load: every layer of all blocks from the home silo when it has them; what it lacks comes at the same time from the silos
/// that hold it. How far all of them have got
/// is on a <see cref="LayerBoard"/>.
/// </summary>
/// <remarks>
/// As in <see cref="ClusterLoad"/> a block is asked of one silo at a time, and the load ends when every call that it made has ended, so
/// that nothing writes the caller's memory behind it.
/// </remarks>
internal sealed class LayerLoad(
    SiloDirectory silos, KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range, CallBudget budget,
    LayerBoard board, MatchedChain? matched = null)
{
    private readonly int _count = destinations.Count;
    private MatchedPiece? _matched = matched?.Find(prefix, firstBlock, firstBlock + destinations.Count);

    /// <summary>Loads, and closes the board.</summary>
    /// <param name="follow">From the home silo alone, and also what is still being written there.</param>
    public async Task<LoadResult> RunAsync(bool follow)
    {
        var reason = MissReason.Unavailable;
        try
        {
            reason = follow ? await FollowAsync().ConfigureAwait(false) : await LoadAsync().ConfigureAwait(false);
            if (budget.IsOver && reason != MissReason.None)
                reason = MissReason.Deadline;
        }
        finally
        {
            board.Finish(reason);
        }

        return new LoadResult(board.FirstIncomplete, reason);
    }

    // Whoever writes takes his time: the deadline alone bounds it.
    private ValueTask<MissReason> FollowAsync()
    {
        var source = new LayerSource(board, Blocks(0), giveUp: true);
        return budget.RunAsync(
            silos.Homes[0].Data,
            connection => connection.GetLayers(
                prefix.Namespace, Hashes(0), range, destinations, localOnly: false, source, follow: true, hint: prefix.Hint),
            isPatient: true);
    }

    private async ValueTask<MissReason> LoadAsync()
    {
        for (var turn = new SiloTurn(silos.Homes, budget); ;)
        {
            var (home, isLast) = (turn.Silo, turn.IsLast);
            if (_matched?.Home != home)
                _matched = null;
            var missed = await FromHomeAsync(home, isLast).ConfigureAwait(false);
            var first = board.FirstIncomplete;
            if (missed is MissReason.Corrupt && board.TryRestart(Blocks(first), missed))
            {
                missed = await FromOthersAsync(home, first, missed, isLast).ConfigureAwait(false);
                first = board.FirstIncomplete;
            }

            if (missed != MissReason.Unavailable || !turn.TryNext() || !board.TryRestart(Blocks(first), missed))
                return missed;
        }
    }

    private async ValueTask<MissReason> FromHomeAsync(SiloConnector home, bool isLast)
    {
        var source = new LayerSource(board, Blocks(0));
        var reading = ReadAsync();
        var others = MissReason.None;
        try
        {
            await Task.WhenAny(reading, source.Promise).ConfigureAwait(false);
            if (source.Promise.IsCompleted && await source.Promise.ConfigureAwait(false) is var promised && promised < _count)
                others = await FromOthersAsync(home, promised, MissReason.Absent, isLast).ConfigureAwait(false);
        }
        finally
        {
            await reading.ConfigureAwait(false);
        }

        var reason = await reading.ConfigureAwait(false);
        return reason is MissReason.None or MissReason.Absent ? others : reason;

        async Task<MissReason> ReadAsync()
        {
            var outcome = await budget.RunAsync(
                home.Data,
                connection => home.ReadLayers(
                    connection, prefix.Namespace, Hashes(0), range, destinations, source, _matched, firstBlock + _count, prefix.Hint),
                isLast).ConfigureAwait(false);
            var intact = Intact(source, outcome);
            home.Loaded(intact);
            if (outcome is not (MissReason.None or MissReason.Absent))
                board.TryRestart([intact], outcome); // at once: the reader must not wait for what the other silos give
            return outcome;
        }
    }

    // What the home silo does not hold: from the other silos that do, or fetched by the home silo.
    private async ValueTask<MissReason> FromOthersAsync(SiloConnector home, int first, MissReason missed, bool isLast)
    {
        // Not where the match has told them to be, when they turned out not to be there.
        var locations = missed == MissReason.Absent ? _matched?.Locate(prefix.Namespace, firstBlock + first, firstBlock + _count) : null;
        if (locations is not null && FetchPlan.IsAtHome(locations))
            locations = null;
        var located = locations is not null ? MissReason.None : await budget.RunAsync(
            home.Control,
            connection =>
            {
                locations = connection.Locate(prefix.Namespace, Hashes(first));
                return MissReason.None;
            },
            isLast).ConfigureAwait(false);
        if (locations is null)
            return located == MissReason.None ? MissReason.Unavailable : located;

        var plan = new FetchPlan(new bool[_count], first, locations);
        plan.Missed(first, plan.Home, missed);
        var running = new List<Task<(FetchStep Step, int Intact, MissReason Reason)>>();
        try
        {
            while (true)
            {
                foreach (var step in plan.Next())
                    running.Add(AskAsync(
                        step, step.Silo == FetchPlan.ThroughHome || step.Silo == plan.Home
                        ? home
                        : silos.Find(locations.Silos[step.Silo].Endpoints)));
                board.GiveUp(plan.End, plan.Reason);
                if (running.Count == 0)
                    return plan.End < _count ? plan.Reason : MissReason.None;
                var ended = await Task.WhenAny(running).ConfigureAwait(false);
                running.Remove(ended);
                var (answered, intact, reason) = await ended.ConfigureAwait(false);
                plan.Answered(answered, intact, reason);
                if (intact < answered.Blocks.Count && !board.TryRestart(answered.Blocks.Skip(intact), reason))
                    return reason;
            }
        }
        finally
        {
            await Task.WhenAll(running).ConfigureAwait(false); // whatever happened: nobody writes the caller's memory any more
        }
    }

    private async Task<(FetchStep Step, int Intact, MissReason Reason)> AskAsync(FetchStep step, SiloConnector? silo)
    {
        if (silo is null)
            return (step, 0, MissReason.Unavailable);
        var isThroughHome = step.Silo == FetchPlan.ThroughHome;
        var hashes = new BlockHash[step.Blocks.Count];
        var memory = new Memory<byte>[hashes.Length];
        for (var i = 0; i < hashes.Length; i++)
            (hashes[i], memory[i]) = (prefix.Chain.Hashes[firstBlock + step.Blocks[i]], destinations[step.Blocks[i]]);
        var source = new LayerSource(board, step.Blocks);
        var reason = await budget.RunAsync(
            silo.Data,
            connection => connection.GetLayers(
                prefix.Namespace, hashes, range, memory, localOnly: !isThroughHome, source, hint: prefix.Hint),
            isPatient: isThroughHome).ConfigureAwait(false);
        var intact = Intact(source, reason);
        silo.Loaded(intact);
        return (step, intact, reason);
    }

    // A read that broke off leaves every block without its last layers.
    private static int Intact(LayerSource source, MissReason reason) =>
        reason is MissReason.None or MissReason.Absent or MissReason.Corrupt ? source.Intact : 0;

    private int[] Blocks(int first) => [.. Enumerable.Range(first, _count - first)];

    private ReadOnlySpan<BlockHash> Hashes(int first) => prefix.Chain.Hashes[(firstBlock + first)..(firstBlock + _count)];
}
