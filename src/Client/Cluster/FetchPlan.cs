using System.Numerics;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>
/// Decides which silo is asked for which blocks of a load: the home silo for what it holds, otherwise the holder with the least to do;
/// after a failure another holder; when none is left, the home silo fetches the block itself. A block is asked of one silo at a time, so
/// that one attempt at a time writes its memory.
/// </summary>
/// <remarks>Pure bookkeeping: no I/O, no clock, and not thread-safe.</remarks>
internal sealed class FetchPlan
{
    /// <summary>Number that stands for the home silo when it is to fetch what it does not hold, from its peers or Redis.</summary>
    public const int ThroughHome = 63;

    // A silo that does not have what it is said to have is asked again, for the rest: one block may have been evicted meanwhile. But not
    // for ever.
    private const int MaxMisses = 3;

    private readonly bool[] _complete;
    private readonly int _first;
    private readonly int _home;
    private readonly ulong[] _untried; // of each block, from the first on: silos that have not failed with it
    private readonly bool[] _asked;
    private readonly MissReason[] _reasons;
    private readonly int[] _load = new int[ThroughHome + 1];
    private readonly int[] _misses = new int[ThroughHome + 1];
    private ulong _busy;
    private bool _homeLost;
    private int _end;

    /// <summary>Plans the rest of a load.</summary>
    /// <param name="complete">Blocks of the load that are complete already; the plan sets what becomes complete.</param>
    /// <param name="first">First block of the plan: the first that was located.</param>
    /// <param name="locations">Where the blocks are.</param>
    public FetchPlan(bool[] complete, int first, BlockLocations locations)
    {
        _complete = complete;
        _first = first;
        _end = first + locations.Found;
        _home = HomeOf(locations, out var silos);
        _untried = new ulong[locations.Found];
        _asked = new bool[locations.Found];
        _reasons = new MissReason[locations.Found + 1];
        var known = (1UL << silos) - 1;
        var block = 0;
        foreach (var run in locations.Runs)
        {
            _untried.AsSpan(block, run.Blocks).Fill((run.Holders & known) | (1UL << ThroughHome));
            block += run.Blocks;
        }
    }

    /// <summary>Number of the home silo, or -1 when it holds none of the blocks.</summary>
    public int Home => _home;

    /// <summary>Whether some block is to come from another silo.</summary>
    public bool IsSpread
    {
        get
        {
            var home = _home < 0 ? 0 : 1UL << _home;
            foreach (var silos in _untried)
            {
                if ((silos & home) == 0)
                    return true;
            }

            return false;
        }
    }

    /// <summary>Whether the home silo has all of the blocks.</summary>
    public static bool IsAtHome(BlockLocations locations)
    {
        var home = HomeOf(locations, out _);
        return home >= 0 && locations.Runs.All(run => (run.Holders & (1UL << home)) != 0);
    }

    /// <summary>Whether the home silo failed, so that blocks may still be had with the help of another one.</summary>
    public bool HomeLost => _homeLost;

    /// <summary>Blocks behind this one are of no use: it, or one before it, cannot be had.</summary>
    public int End => _end;

    /// <summary>Why the first block that is missing could not be had.</summary>
    public MissReason Reason
    {
        get
        {
            var missing = _first;
            while (missing < _first + _untried.Length && _complete[missing])
                missing++;
            return _reasons[missing - _first] is var reason && reason != MissReason.None ? reason : MissReason.Absent;
        }
    }

    /// <summary>Notes what was known before the plan: a silo did not have a block.</summary>
    public void Missed(int block, int silo, MissReason reason)
    {
        if (block - _first is var index && (uint)index >= (uint)_reasons.Length)
            return;
        Note(index, reason);
        if (silo >= 0 && index < _untried.Length)
            _untried[index] &= ~(1UL << silo);
    }

    /// <summary>What silos that have nothing to do are to be asked for now. Empty when every block is complete, being asked for, or
    /// lost.</summary>
    public List<FetchStep> Next()
    {
        var steps = new List<FetchStep>();
        var bySilo = new FetchStep?[ThroughHome + 1];
        for (var block = _first; block < _end; block++)
        {
            var index = block - _first;
            if (_complete[block] || _asked[index])
                continue;
            if (Choose(_untried[index]) is not { } silo)
            {
                if (_untried[index] == 0 && !_homeLost)
                    _end = block;
                continue;
            }

            _asked[index] = true;
            _load[silo]++;
            if (bySilo[silo] is not { } step)
                steps.Add(bySilo[silo] = step = new FetchStep(silo, []));
            step.Blocks.Add(block);
        }

        foreach (var step in steps)
            _busy |= 1UL << step.Silo;
        return steps;
    }

    /// <summary>A silo has answered, or will not.</summary>
    /// <param name="step">What it was asked for.</param>
    /// <param name="delivered">Number of blocks of the step, from the first on, that are complete.</param>
    /// <param name="reason">Why not more.</param>
    public void Answered(FetchStep step, int delivered, MissReason reason)
    {
        var bit = 1UL << step.Silo;
        _busy &= ~bit;
        for (var i = 0; i < step.Blocks.Count; i++)
        {
            _asked[step.Blocks[i] - _first] = false;
            _complete[step.Blocks[i]] |= i < delivered;
        }

        if (delivered == step.Blocks.Count)
            return;
        if (reason is MissReason.Absent or MissReason.Corrupt)
        {
            Missed(step.Blocks[delivered], step.Silo, reason);
            if (++_misses[step.Silo] >= MaxMisses)
                Exclude(bit);
            return;
        }

        foreach (var block in step.Blocks.Skip(delivered))
            Note(block - _first, reason);
        Exclude(bit);
    }

    /// <summary>The home silo is out of the question; what only it could give is left to another one.</summary>
    public void LoseHome() => _homeLost = true;

    private static int HomeOf(BlockLocations locations, out int silos)
    {
        silos = Math.Min(locations.Silos.Count, WireProtocol.MaxSilosPerLocate); // a silo that names more is not believed
        var home = -1;
        for (var silo = 0; silo < silos; silo++)
        {
            if (locations.Silos[silo].IsHere)
                home = silo;
        }

        return home;
    }

    private int? Choose(ulong untried)
    {
        var silos = untried & ~(1UL << ThroughHome);
        if (_homeLost && _home >= 0)
            silos &= ~(1UL << _home);
        if (silos == 0)
            return _homeLost || (untried & ~_busy) == 0 ? null : ThroughHome;
        silos &= ~_busy;
        if (silos == 0)
            return null;
        if (_home >= 0 && (silos & (1UL << _home)) != 0)
            return _home;
        var best = BitOperations.TrailingZeroCount(silos);
        for (var rest = silos & (silos - 1); rest != 0; rest &= rest - 1)
        {
            var silo = BitOperations.TrailingZeroCount(rest);
            if (_load[silo] < _load[best])
                best = silo;
        }

        return best;
    }

    private void Exclude(ulong bit)
    {
        for (var i = 0; i < _untried.Length; i++)
            _untried[i] &= ~bit;
    }

    // A holder that failed says more than one that did not have the block (any more).
    private void Note(int index, MissReason reason)
    {
        if (_reasons[index] is MissReason.None or MissReason.Absent)
            _reasons[index] = reason;
    }
}
