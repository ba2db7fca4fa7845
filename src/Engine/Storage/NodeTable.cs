using KvCache.Hashing;

namespace KvCache.Engine.Storage;

/// <summary>
/// Nodes by key. Anybody reads it without a lock; it is changed under the store's lock. It grows stripe by stripe: no more than one in 512
/// of its nodes is moved at a time.
/// </summary>
/// <remarks>
/// Nodes are linked into chains through a field of their own. One that is taken out keeps its link, so that a reader who stands on it goes
/// on. Only growing links nodes anew: who found nothing looks whether that happened meanwhile, and looks again (a sequence lock; Lameter,
/// "Effective Synchronization on Linux/NUMA Systems", 2005).
/// </remarks>
internal sealed class NodeTable
{
    private const int StripeBits = 9, FirstBuckets = 8;
    private static readonly BlockNode?[] None = new BlockNode?[1];

    private readonly Stripe[] _stripes = new Stripe[1 << StripeBits];

    /// <summary>Nodes in it.</summary>
    public int Count { get; private set; }

    /// <summary>The node of a key, or null. Any thread.</summary>
    public BlockNode? Find(in BlockKey key)
    {
        var hash = KeyHash.Of(in key);
        ref var stripe = ref _stripes[hash >> (64 - StripeBits)];
        for (var wait = new SpinWait(); ; wait.SpinOnce())
        {
            var version = Volatile.Read(ref stripe.Version);
            var buckets = Volatile.Read(ref stripe.Buckets) ?? None;
            var node = Volatile.Read(ref buckets[(int)hash & (buckets.Length - 1)]);
            for (; node is not null; node = Volatile.Read(ref node.NextInTable))
            {
                if (node.Key == key)
                    return node;
            }

            Volatile.ReadBarrier();
            if ((version & 1) == 0 && version == Volatile.Read(ref stripe.Version))
                return null;
        }
    }

    /// <summary>Adds a node whose key has none.</summary>
    public void Add(BlockNode node)
    {
        var hash = KeyHash.Of(in node.Key);
        ref var stripe = ref _stripes[hash >> (64 - StripeBits)];
        if (stripe.Buckets is null)
            Volatile.Write(ref stripe.Buckets, new BlockNode?[FirstBuckets]);
        else if (2 * stripe.Count == stripe.Buckets.Length)
            Grow(ref stripe);
        stripe.Count++;
        Count++;
        Link(stripe.Buckets!, node, hash);
    }

    /// <summary>Takes out a node that is in it.</summary>
    public void Remove(BlockNode node)
    {
        var hash = KeyHash.Of(in node.Key);
        ref var stripe = ref _stripes[hash >> (64 - StripeBits)];
        ref var at = ref stripe.Buckets![(int)hash & (stripe.Buckets.Length - 1)];
        while (at != node)
            at = ref at!.NextInTable;
        Volatile.Write(ref at, node.NextInTable);
        stripe.Count--;
        Count--;
    }

    private static void Link(BlockNode?[] buckets, BlockNode node, ulong hash)
    {
        ref var first = ref buckets[(int)hash & (buckets.Length - 1)];
        Volatile.Write(ref node.NextInTable, first);
        Volatile.Write(ref first, node);
    }

    private static void Grow(ref Stripe stripe)
    {
        var old = stripe.Buckets!;
        var buckets = new BlockNode?[2 * old.Length];
        Interlocked.Increment(ref stripe.Version);
        foreach (var first in old)
        {
            for (var node = first; node is not null;)
            {
                var next = node.NextInTable;
                Link(buckets, node, KeyHash.Of(in node.Key));
                node = next;
            }
        }

        Volatile.Write(ref stripe.Buckets, buckets);
        Interlocked.Increment(ref stripe.Version);
    }

    private struct Stripe
    {
        public BlockNode?[]? Buckets;
        public int Count;
        public int Version; // odd while nodes are linked anew
    }
}
