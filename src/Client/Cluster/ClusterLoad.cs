using KvCache.Client.Connections;

namespace KvCache.Client.Cluster;

/// <summary>
/// One load: from the home silo when it has everything, otherwise from all silos that hold a part, at the same time.
/// </summary>
/// <remarks>
/// A block is asked of one silo at a time, and the load ends when every call that it made has ended, so that nothing writes the caller's
/// memory behind it: not even a silo that was given up.
/// </remarks>
internal sealed class ClusterLoad
{
    private readonly SiloDirectory _silos;
    private readonly KvPrefix _prefix;
    private readonly int _firstBlock;
    private readonly IReadOnlyList<Memory<byte>> _destinations;
    private readonly LayerRange _range;
    private readonly CallBudget _budget;
    private readonly MatchedChain? _matched;
    private bool[]? _complete;
    private int _delivered; // from the first destination on
    private int _end; // of the piece that is being loaded

    public ClusterLoad(
        SiloDirectory silos, KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range, CallBudget budget,
        MatchedChain? matched = null)
    {
        _matched = matched;
        _silos = silos;
        _prefix = prefix;
        _firstBlock = firstBlock;
        _destinations = destinations;
        _range = range;
        _budget = budget;
    }

    /// <summary>
    /// Whether blocks are looked for before the home silo is asked for them. Asking it at once saves a round trip when it has them all;
    /// looking first lets all silos
    /// deliver at the same time when it has not. Set it to what the last load found; afterwards it says what this one has found. Behind a
    /// match that has told where they are, nothing is looked for.
    /// </summary>
    public bool LocatesFirst { get; set; }

    public async ValueTask<LoadResult> RunAsync()
    {
        foreach (var (first, count) in RequestPieces.Of(0, _destinations.Count, RequestPieces.MostMoved))
        {
            _end = first + count;
            var reason = await LoadPieceAsync().ConfigureAwait(false);
            if (_delivered < _end)
                return new LoadResult(_delivered, _budget.IsOver ? MissReason.Deadline : reason);
        }

        return new LoadResult(_delivered, MissReason.None);
    }

    private async ValueTask<MissReason> LoadPieceAsync()
    {
        var isPlanned = false;
        var matched = _matched?.Find(_prefix, _firstBlock + _delivered, _firstBlock + _end);
        for (var turn = new SiloTurn(_silos.Homes, _budget); ;)
        {
            var (home, isLast) = (turn.Silo, turn.IsLast);
            var missed = MissReason.None;
            if (matched?.Home != home)
                matched = null;
            var locations = matched?.Locate(_prefix.Namespace, _firstBlock + _delivered, _firstBlock + _end);
            if (!isPlanned && (locations is null ? !LocatesFirst : FetchPlan.IsAtHome(locations)))
            {
                missed = await FromHomeAsync(home, matched, isLast).ConfigureAwait(false);
                if (missed == MissReason.None)
                    return missed;
                locations = null; // it is not as the match has told
            }

            if (missed is MissReason.None or MissReason.Absent or MissReason.Corrupt)
            {
                var located = locations is not null ? MissReason.None : await _budget.RunAsync(
                    home.Control,
                    connection =>
                    {
                        locations = connection.Locate(_prefix.Namespace, Hashes(_delivered, _end));
                        return MissReason.None;
                    },
                    isLast).ConfigureAwait(false);
                if (locations is not null)
                {
                    isPlanned = true;
                    var plan = new FetchPlan(_complete ??= new bool[_destinations.Count], _delivered, locations);
                    if (missed != MissReason.None)
                        plan.Missed(_delivered, plan.Home, missed);
                    if (locations.Found > 0)
                        LocatesFirst = plan.IsSpread;
                    await FetchAsync(plan, home, locations, matched, isLast).ConfigureAwait(false);
                    while (_delivered < _end && _complete[_delivered])
                        _delivered++;
                    if (_delivered == _end || !plan.HomeLost)
                        return plan.Reason;
                }

                missed = located == MissReason.None ? MissReason.Unavailable : located;
            }

            if (missed != MissReason.Unavailable || !turn.TryNext())
                return missed;
        }
    }

    private async ValueTask<MissReason> FromHomeAsync(SiloConnector home, MatchedPiece? matched, bool isLast)
    {
        var before = _delivered;
        home.Memory?.CopyKept(_prefix.Namespace, Hashes(_delivered, _end), _range, _destinations, ref _delivered);
        if (_delivered == _end)
        {
            home.Loaded(_delivered - before);
            return MissReason.None;
        }

        var reason = await _budget.RunAsync(
            home.Data,
            connection => home.Read(
                connection, _prefix.Namespace, Hashes(_delivered, _end), _range, _destinations, ref _delivered, matched,
                    _firstBlock + _end, _prefix.Hint),
            isLast).ConfigureAwait(false);
        home.Loaded(_delivered - before);
        return reason;
    }

    private async Task FetchAsync(FetchPlan plan, SiloConnector home, BlockLocations locations, MatchedPiece? matched, bool isLast)
    {
        var running = new List<Task<(FetchStep Step, int Delivered, MissReason Reason)>>();
        try
        {
            while (true)
            {
                foreach (var step in plan.Next())
                    running.Add(AskAsync(step));
                if (running.Count == 0)
                    return;
                var first = await Task.WhenAny(running).ConfigureAwait(false);
                running.Remove(first);
                var (answered, delivered, reason) = await first.ConfigureAwait(false);
                plan.Answered(answered, delivered, reason);
                if (reason == MissReason.Unavailable && !isLast && (answered.Silo == FetchPlan.ThroughHome || answered.Silo == plan.Home))
                    plan.LoseHome();
            }
        }
        finally
        {
            await Task.WhenAll(running).ConfigureAwait(false); // whatever happened: nobody writes the caller's memory any more
        }

        async Task<(FetchStep Step, int Delivered, MissReason Reason)> AskAsync(FetchStep step)
        {
            var isThroughHome = step.Silo == FetchPlan.ThroughHome;
            var silo = isThroughHome || step.Silo == plan.Home ? home : _silos.Find(locations.Silos[step.Silo].Endpoints);
            if (silo is null)
                return (step, 0, MissReason.Unavailable);
            var hashes = new BlockHash[step.Blocks.Count];
            var memory = new Memory<byte>[hashes.Length];
            for (var i = 0; i < hashes.Length; i++)
                (hashes[i], memory[i]) = (_prefix.Chain.Hashes[_firstBlock + step.Blocks[i]], _destinations[step.Blocks[i]]);
            var delivered = 0;
            var hold = silo == home && matched is not null ? matched.HoldFor(_firstBlock + step.Blocks[^1] + 1) : default;
            var reason = await _budget.RunAsync(
                silo.Data,
                connection => connection.Get(
                    _prefix.Namespace, hashes, _range, memory, 0, localOnly: !isThroughHome, ref delivered, hold, _prefix.Hint),
                isPatient: isThroughHome).ConfigureAwait(false);
            if (reason == MissReason.None)
                matched?.HasRead(hold);
            silo.Loaded(delivered);
            return (step, delivered, reason);
        }
    }

    private ReadOnlySpan<BlockHash> Hashes(int first, int end) => _prefix.Chain.Hashes[(_firstBlock + first)..(_firstBlock + end)];
}
