using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace KvCache.Eviction;

/// <summary>
/// Learns when blocks of a class are used again. For every class and age bucket it counts the intervals between two touches that ended
/// there, those that were given up there (the block was forgotten), and those that are still open; from these follows the hazard of each
/// age, from hazards the score of a block. A class that has seen little borrows from the coarser one above it.
/// </summary>
/// <remarks>
/// Intervals that are still open count as what they are, not used so far (Kaplan and Meier 1958): without them, all that is learned
/// early comes from blocks that were used soon. Blocks of one request share their fate, so that evidence is counted in requests, not in
/// blocks.
/// </remarks>
internal sealed class ReuseLearner
{
    private const int Buckets = AgeScale.Buckets;

    /// <summary>What the coarser class counts for, in requests.</summary>
    private const float Borrowed = 4;

    /// <summary>
    /// The hazard that is assumed of each bucket where nothing is known: equal ones make scores fall as 1/age, which is LRU.
    /// </summary>
    private const float AssumedHazard = 0.08f;

    /// <summary>When this many requests were counted, summed over classes, all counts are halved.</summary>
    private const double Remembered = 30_000;

    /// <summary>Most classes; when there are as many, new ones are merged over the tenants.</summary>
    private const int MostClasses = 16_384, MostOwnClasses = 12_288;

    /// <summary>Most classes for which something is asked, of which more is told than that.</summary>
    private const int MostKeptClasses = 1_024;

    private readonly Dictionary<long, ushort> _classes = [];
    private readonly Dictionary<(int Level, int Key), int> _nodes = [];
    private readonly Action<int, int> _merge;
    private ClassFacts[] _facts = [];
    private float[] _reused = []; // by class and bucket
    private float[] _lost = [];
    private float[] _scores = [];
    private int[] _open = []; // by class and slice
    private Node[] _tree = [];
    private float[] _nodeEnded = []; // by node and bucket
    private float[] _nodeLost = [];
    private float[] _nodeHazard = [];
    private long _lastKey = -1;
    private ushort _lastClass;
    private int _keptClasses;

    public ReuseLearner()
    {
        _merge = MergeSlices;
        NodeOf(0, 0);
        Array.Fill(_nodeHazard, AssumedHazard);
    }

    /// <summary>Classes so far: 0 to this are their numbers.</summary>
    public int Count { get; private set; }

    /// <summary>Slices of time in which intervals began.</summary>
    public Slices Slices { get; } = new();

    /// <summary>Called with two slices that become one, the one that stays first.</summary>
    public Action<int, int>? SlicesMerged { get; set; }

    /// <summary>The number of a class. Allocates when it is seen for the first time, else nothing.</summary>
    public ushort ClassOf(long key)
    {
        if (key == _lastKey)
            return _lastClass;
        if (!_classes.TryGetValue(key, out var id))
        {
            long shared = ReuseClass.OfAnyTenant(key), kept = ReuseClass.OfKeepAlone(key);
            id = kept != 0 && kept != key && _keptClasses >= MostKeptClasses ? ClassOf(kept)
                : key != shared && Count >= MostOwnClasses ? ClassOf(shared)
                : Add(key);
        }

        (_lastKey, _lastClass) = (key, id);
        return id;
    }

    /// <summary>What a class is.</summary>
    public long KeyOf(ushort id) => _facts[id].Key;

    /// <summary>What is asked for the blocks of a class.</summary>
    public KeepTerms KeepOf(ushort id) => ReuseClass.KeepOf(_facts[id].Key);

    /// <summary>Hits for a block-second that a block of a class and an age in milliseconds brings.</summary>
    public float Score(ushort id, long age) => _scores[(id * Buckets) + AgeScale.Of(age)];

    /// <summary>What puts the blocks of a store in order: their score, and what is asked for them.</summary>
    public float Order(ushort id, long age) => KeepOf(id).Order(Score(id, age), age);

    /// <summary>A block of a class was touched by a request.</summary>
    public void Begin(ushort id, long now, long request)
    {
        CountTouch(ref _facts[id], request);
        _open[(id * Slices.Max) + Slices.Find(now)]++;
    }

    /// <summary>The block was touched again, or is forgotten.</summary>
    public void End(ushort id, long began, long now, bool reused)
    {
        _open[(id * Slices.Max) + Slices.Find(began)]--;
        (reused ? _reused : _lost)[(id * Buckets) + AgeScale.Of(now - began)]++;
    }

    /// <summary>The block is of another class than was thought when that request touched it.</summary>
    public void Move(ushort from, ushort to, long began, long request)
    {
        var slice = Slices.Find(began);
        _open[(from * Slices.Max) + slice]--;
        _open[(to * Slices.Max) + slice]++;
        CountTouch(ref _facts[to], request);
        ref var wrong = ref _facts[from];
        wrong.Touches--;
        if (wrong.LastRequest != request)
            return;
        wrong.LastRequest = 0;
        wrong.Requests--;
    }

    /// <summary>Begins a slice of time.</summary>
    public void Advance(long now) => Slices.Begin(now, _merge);

    /// <summary>Turns what was counted into scores: O(classes).</summary>
    public void Learn(long now)
    {
        Fade();
        Array.Clear(_nodeEnded);
        Array.Clear(_nodeLost);
        foreach (ref var node in _tree.AsSpan(0, _nodes.Count))
            (node.Touches, node.Requests) = (0, 0);
        Span<int> bucketOf = stackalloc int[Slices.Max];
        for (var order = 0; order < Slices.Count; order++)
            bucketOf[Slices.Id(order)] = AgeScale.Of(Slices.Age(order, now));
        for (var id = 0; id < Count; id++)
            Collect(id, bucketOf);

        // Nodes were numbered after those above them.
        for (var node = 0; node < _nodes.Count; node++)
            EstimateHazard(node);
        for (var id = 0; id < Count; id++)
            GittinsIndex.Compute(HazardOf(_facts[id].Leaf), _scores.AsSpan(id * Buckets, Buckets));
    }

    private static void CountTouch(ref ClassFacts facts, long request)
    {
        facts.Touches++;
        if (facts.LastRequest == request)
            return;
        facts.LastRequest = request;
        facts.Requests++;
    }

    private void Fade()
    {
        double requests = 0;
        foreach (ref readonly var facts in _facts.AsSpan(0, Count))
            requests += facts.Requests;
        if (requests <= Remembered)
            return;
        foreach (ref var facts in _facts.AsSpan(0, Count))
            (facts.Requests, facts.Touches) = (facts.Requests / 2, facts.Touches / 2);
        TensorPrimitives.Multiply(_reused, 0.5f, _reused);
        TensorPrimitives.Multiply(_lost, 0.5f, _lost);
    }

    // Adds a class to all nodes that it is part of.
    private void Collect(int id, ReadOnlySpan<int> bucketOf)
    {
        Span<float> lost = stackalloc float[Buckets];
        _lost.AsSpan(id * Buckets, Buckets).CopyTo(lost);
        for (var slice = 0; slice < Slices.Max; slice++)
        {
            if (_open[(id * Slices.Max) + slice] is var open and > 0)
                lost[bucketOf[slice]] += open;
        }

        var reused = _reused.AsSpan(id * Buckets, Buckets);
        for (var node = _facts[id].Leaf; node >= 0; node = _tree[node].Above)
            Collect(_facts[id], reused, lost, node);
        if (_facts[id].AnyEnd == _facts[id].Leaf)
            return;
        for (var node = _facts[id].AnyEnd; _tree[node].Above >= 0; node = _tree[node].Above)
            Collect(_facts[id], reused, lost, node);
    }

    private void Collect(in ClassFacts facts, ReadOnlySpan<float> reused, ReadOnlySpan<float> lost, int node)
    {
        _tree[node].Touches += facts.Touches;
        _tree[node].Requests += facts.Requests;
        var nodeEnded = _nodeEnded.AsSpan(node * Buckets, Buckets);
        var nodeLost = _nodeLost.AsSpan(node * Buckets, Buckets);
        TensorPrimitives.Add(nodeEnded, reused, nodeEnded);
        TensorPrimitives.Add(nodeLost, lost, nodeLost);
    }

    private void EstimateHazard(int node)
    {
        ref readonly var facts = ref _tree[node];
        var above = facts.Above;
        if (above >= 0 && facts.Touches >= _tree[above].Touches)
        {
            // It is all that the class above it has seen, which must not count twice.
            HazardOf(above).CopyTo(_nodeHazard.AsSpan(node * Buckets, Buckets));
            return;
        }

        var blocksPerRequest = Math.Max(1, facts.Touches / Math.Max(1, facts.Requests));
        float older = 0;
        for (var bucket = Buckets - 1; bucket >= 0; bucket--)
        {
            float ended = _nodeEnded[(node * Buckets) + bucket], lost = _nodeLost[(node * Buckets) + bucket];
            var atRisk = older + ended + (lost / 2); // what was given up in it was at risk for half of it
            var borrowed = above < 0 ? AssumedHazard : _nodeHazard[(above * Buckets) + bucket];
            _nodeHazard[(node * Buckets) + bucket] =
                ((ended / blocksPerRequest) + (Borrowed * borrowed)) / ((atRisk / blocksPerRequest) + Borrowed);
            older += ended + lost;
        }
    }

    private ReadOnlySpan<float> HazardOf(int node) => _nodeHazard.AsSpan(node * Buckets, Buckets);

    private void MergeSlices(int stays, int goes)
    {
        for (var at = 0; at < Count * Slices.Max; at += Slices.Max)
        {
            _open[at + stays] += _open[at + goes];
            _open[at + goes] = 0;
        }

        SlicesMerged?.Invoke(stays, goes);
    }

    private ushort Add(long key)
    {
        if (Count == MostClasses)
            throw new InvalidOperationException($"There are {MostClasses} classes of blocks, more than there can be.");
        var id = Count++;
        if (Count > _facts.Length)
            Grow(Math.Max(64, 2 * _facts.Length));
        var facts = ReuseClass.OfFacts(key);
        // Until it is told how an answer ended, its blocks are like those of all answers.
        var anyEnd = LeafOf(ReuseClass.OfAnyEnd(facts));
        var leaf = LeafOf(facts);
        _facts[id] = new ClassFacts { Key = key, Leaf = leaf, AnyEnd = anyEnd };
        _classes.Add(key, (ushort)id);
        if (ReuseClass.OfKeepAlone(key) != 0)
            _keptClasses++;
        // Nothing was learned of it: it scores as the coarser class does that borrowing would give it.
        GittinsIndex.Compute(HazardOf(leaf), _scores.AsSpan(id * Buckets, Buckets));
        return (ushort)id;
    }

    private int LeafOf(int facts)
    {
        var leaf = -1;
        for (var level = 0; level < ReuseClass.Levels; level++)
            leaf = NodeOf(level, ReuseClass.Ancestor(facts, level), leaf);
        return leaf;
    }

    private int NodeOf(int level, int key, int above = -1)
    {
        ref var node = ref CollectionsMarshal.GetValueRefOrAddDefault(_nodes, (level, key), out var exists);
        if (exists)
            return node;
        node = _nodes.Count - 1;
        if (node >= _tree.Length)
        {
            var size = Math.Max(64, 2 * _tree.Length);
            Array.Resize(ref _tree, size);
            Array.Resize(ref _nodeEnded, size * Buckets);
            Array.Resize(ref _nodeLost, size * Buckets);
            Array.Resize(ref _nodeHazard, size * Buckets);
        }

        _tree[node] = new Node { Above = above };
        if (above >= 0)
            HazardOf(above).CopyTo(_nodeHazard.AsSpan(node * Buckets, Buckets));
        return node;
    }

    private void Grow(int size)
    {
        Array.Resize(ref _facts, size);
        Array.Resize(ref _reused, size * Buckets);
        Array.Resize(ref _lost, size * Buckets);
        Array.Resize(ref _scores, size * Buckets);
        Array.Resize(ref _open, size * Slices.Max);
    }

    private struct ClassFacts
    {
        public long Key;
        public int Leaf; // its own node
        public int AnyEnd; // that of the same facts, however the answer ended
        public long LastRequest;
        public float Touches;
        public float Requests;
    }

    private struct Node
    {
        public int Above;
        public float Touches;
        public float Requests;
    }
}
