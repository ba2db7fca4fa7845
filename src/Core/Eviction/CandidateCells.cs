using System.Numerics;

namespace KvCache.Eviction;

/// <summary>
/// Blocks that can go, in a list for every class and slice of time: all in one list score alike. A tournament over the classes names the
/// least score of all in O(1) and follows a change in O(log classes).
/// </summary>
internal sealed class CandidateCells
{
    private readonly ReuseLearner _learner;
    private readonly SlotLinks _links;
    private readonly int[] _cellOf; // by slot: cell + 1, 0 = in none
    private readonly long[] _ages = new long[Slices.Max]; // by slice id
    private SlotList[] _cells = []; // by class and slice id
    private float[] _scores = [];
    private ulong[] _filled = []; // by class: its slices that have blocks
    private int[] _leastCell = []; // by class, -1 = none
    private int[] _winners = [0, -1]; // a heap-shaped tree of classes, -1 = none

    public CandidateCells(ReuseLearner learner, int slots)
    {
        _learner = learner;
        _links = new SlotLinks(slots);
        _cellOf = new int[slots];
        learner.SlicesMerged += Merge;
    }

    /// <summary>Whether a block is among the candidates.</summary>
    public bool Contains(int slot) => _cellOf[slot] != 0;

    public void Add(int slot, ushort id, long touched)
    {
        if (id >= _filled.Length)
            Grow(id);
        var slice = _learner.Slices.Find(touched);
        var cell = (id * Slices.Max) + slice;
        _cells[cell].AddNewest(_links, slot);
        _cellOf[slot] = cell + 1;
        if (_cells[cell].Count > 1)
            return;
        _filled[id] |= 1UL << slice;
        _scores[cell] = _learner.Score(id, _ages[slice]);
        if (_leastCell[id] < 0 || _scores[cell] < _scores[_leastCell[id]])
        {
            _leastCell[id] = cell;
            Replay(id);
        }
    }

    public void Remove(int slot)
    {
        var cell = _cellOf[slot] - 1;
        _cellOf[slot] = 0;
        _cells[cell].Remove(_links, slot);
        if (_cells[cell].Count > 0)
            return;
        var id = cell / Slices.Max;
        _filled[id] &= ~(1UL << (cell % Slices.Max));
        if (_leastCell[id] != cell)
            return;
        FindLeast(id);
        Replay(id);
    }

    /// <summary>The block of the least score, or -1 when there is none.</summary>
    public int Least(out float score)
    {
        var winner = _winners[1];
        score = winner < 0 ? 0 : _scores[_leastCell[winner]];
        return winner < 0 ? -1 : _cells[_leastCell[winner]].Oldest;
    }

    /// <summary>Scores all lists again: time went on, or something was learned. O(lists that have blocks).</summary>
    public void Rescore(long now)
    {
        for (var order = 0; order < _learner.Slices.Count; order++)
            _ages[_learner.Slices.Id(order)] = _learner.Slices.Age(order, now);
        for (var id = 0; id < _filled.Length; id++)
        {
            for (var rest = _filled[id]; rest != 0; rest &= rest - 1)
            {
                var slice = BitOperations.TrailingZeroCount(rest);
                _scores[(id * Slices.Max) + slice] = _learner.Score((ushort)id, _ages[slice]);
            }

            FindLeast(id);
        }

        PlayAll();
    }

    private void FindLeast(int id)
    {
        var least = -1;
        for (var rest = _filled[id]; rest != 0; rest &= rest - 1)
        {
            var cell = (id * Slices.Max) + BitOperations.TrailingZeroCount(rest);
            if (least < 0 || _scores[cell] < _scores[least])
                least = cell;
        }

        _leastCell[id] = least;
    }

    private void Merge(int stays, int goes)
    {
        for (var id = 0; id < _filled.Length; id++)
        {
            if ((_filled[id] >> goes & 1) == 0)
                continue;
            ref var from = ref _cells[(id * Slices.Max) + goes];
            ref var to = ref _cells[(id * Slices.Max) + stays];
            for (var slot = from.Oldest; slot >= 0; slot = _links.Newer[slot])
                _cellOf[slot] = (id * Slices.Max) + stays + 1;
            to.Append(_links, ref from);
            _filled[id] = (_filled[id] & ~(1UL << goes)) | (1UL << stays);
        }

        // Whoever begins a slice scores again afterwards.
    }

    private void Replay(int id)
    {
        for (var at = (_filled.Length + id) >> 1; at >= 1; at >>= 1)
            _winners[at] = Better(at);
    }

    private void PlayAll()
    {
        for (var at = _filled.Length - 1; at >= 1; at--)
            _winners[at] = Better(at);
    }

    private int Better(int at)
    {
        int left = Entrant(2 * at), right = Entrant((2 * at) + 1);
        return left < 0 ? right : right < 0 ? left : _scores[_leastCell[right]] < _scores[_leastCell[left]] ? right : left;
    }

    private int Entrant(int at) => at < _filled.Length ? _winners[at] : _leastCell[at - _filled.Length] < 0 ? -1 : at - _filled.Length;

    private void Grow(int id)
    {
        var old = _filled.Length;
        var size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(64, id + 1));
        Array.Resize(ref _filled, size);
        Array.Resize(ref _leastCell, size);
        Array.Resize(ref _scores, size * Slices.Max);
        Array.Resize(ref _cells, size * Slices.Max);
        _cells.AsSpan(old * Slices.Max).Fill(SlotList.Empty);
        _leastCell.AsSpan(old).Fill(-1);
        _winners = new int[size];
        PlayAll();
    }
}
