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
    private PagedArray<int> _listOf; // by slot: list + 1, 0 = in none
    private readonly long[] _ages = new long[Slices.Max]; // by slice id
    private int[] _cells = []; // by class and slice id: list, -1 = empty
    private SlotList[] _lists = [];
    private int[] _cellOf = []; // by list: its cell; of a free one, the next free one
    private int _freeList = -1;
    private float[] _scores = [];
    private ulong[] _filled = []; // by class: its slices that have blocks
    private int[] _leastCell = []; // by class, -1 = none
    private int[] _winners = [0, -1]; // a heap-shaped tree of classes, -1 = none

    public CandidateCells(ReuseLearner learner, int slots)
    {
        _learner = learner;
        _links = new SlotLinks(slots);
        _listOf = new PagedArray<int>(slots);
    }

    public void Grow(int slots)
    {
        _links.Grow(slots);
        _listOf.Grow(slots);
    }

    /// <summary>Whether a block is among the candidates.</summary>
    public bool Contains(int slot) => _listOf[slot] != 0;

    /// <param name="slot">The block.</param>
    /// <param name="id">Its class.</param>
    /// <param name="touched">When it was touched.</param>
    /// <param name="first">Whether it goes before all that score alike.</param>
    public void Add(int slot, ushort id, long touched, bool first = false)
    {
        if (id >= _filled.Length)
            GrowClasses(id);
        var slice = _learner.Slices.Find(touched);
        var cell = (id * Slices.Max) + slice;
        var list = _cells[cell];
        if (list >= 0)
        {
            if (first)
                _lists[list].AddOldest(_links, slot);
            else
                _lists[list].AddNewest(_links, slot);
            _listOf[slot] = list + 1;
            return;
        }

        list = NewList(cell);
        _lists[list].AddNewest(_links, slot);
        _listOf[slot] = list + 1;
        _filled[id] |= 1UL << slice;
        _scores[cell] = _learner.Order(id, _ages[slice]);
        if (_leastCell[id] < 0 || _scores[cell] < _scores[_leastCell[id]])
        {
            _leastCell[id] = cell;
            Replay(id);
        }
    }

    public void Remove(int slot)
    {
        var list = _listOf[slot] - 1;
        _listOf[slot] = 0;
        _lists[list].Remove(_links, slot);
        if (_lists[list].Count > 0)
            return;
        var cell = FreeList(list);
        _cells[cell] = -1;
        var id = cell / Slices.Max;
        _filled[id] &= ~(1UL << (cell % Slices.Max));
        if (_leastCell[id] != cell)
            return;
        FindLeast(id);
        Replay(id);
    }

    /// <summary>The block that goes first, or -1 when there is none.</summary>
    /// <param name="age">Its age.</param>
    public int Least(out long age)
    {
        var winner = _winners[1];
        age = winner < 0 ? 0 : _ages[_leastCell[winner] % Slices.Max];
        return winner < 0 ? -1 : _lists[_cells[_leastCell[winner]]].Oldest;
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
                _scores[(id * Slices.Max) + slice] = _learner.Order((ushort)id, _ages[slice]);
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

    /// <summary>Two slices of the learner's became one. Whoever begins a slice scores again afterwards.</summary>
    public void Merge(int stays, int goes)
    {
        for (var id = 0; id < _filled.Length; id++)
        {
            if ((_filled[id] >> goes & 1) == 0)
                continue;
            MergeCells((id * Slices.Max) + stays, (id * Slices.Max) + goes);
            _filled[id] = (_filled[id] & ~(1UL << goes)) | (1UL << stays);
        }
    }

    // The larger list takes in the smaller one, whose blocks are relabelled: each block log(blocks) times in its life.
    private void MergeCells(int stays, int goes)
    {
        var (older, younger) = (_cells[stays], _cells[goes]);
        _cells[goes] = -1;
        if (older < 0)
        {
            _cells[stays] = younger;
            _cellOf[younger] = stays;
            return;
        }

        var (kept, dropped) = _lists[older].Count >= _lists[younger].Count ? (older, younger) : (younger, older);
        for (var slot = _lists[dropped].Oldest; slot >= 0; slot = _links.Newer[slot])
            _listOf[slot] = kept + 1;
        var all = _lists[older];
        all.Append(_links, ref _lists[younger]);
        _lists[kept] = all;
        FreeList(dropped);
        _cells[stays] = kept;
        _cellOf[kept] = stays;
    }

    private int NewList(int cell)
    {
        if (_freeList < 0)
        {
            var old = _lists.Length;
            Array.Resize(ref _lists, Math.Max(64, 2 * old));
            Array.Resize(ref _cellOf, _lists.Length);
            for (var free = _lists.Length - 1; free >= old; free--)
                (_cellOf[free], _freeList) = (_freeList, free);
        }

        var list = _freeList;
        _freeList = _cellOf[list];
        _cellOf[list] = cell;
        _lists[list] = SlotList.Empty;
        _cells[cell] = list;
        return list;
    }

    private int FreeList(int list)
    {
        var cell = _cellOf[list];
        (_cellOf[list], _freeList) = (_freeList, list);
        return cell;
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

    private void GrowClasses(int id)
    {
        var old = _filled.Length;
        var size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(64, id + 1));
        Array.Resize(ref _filled, size);
        Array.Resize(ref _leastCell, size);
        Array.Resize(ref _scores, size * Slices.Max);
        Array.Resize(ref _cells, size * Slices.Max);
        _cells.AsSpan(old * Slices.Max).Fill(-1);
        _leastCell.AsSpan(old).Fill(-1);
        _winners = new int[size];
        PlayAll();
    }
}
