using KvCache.Hashing;

namespace KvCache.Engine.Storage;

/// <summary>
/// A key's place in the tree of prefixes: the visible block, the writes that run, and what comes before and behind. It is there for as long
/// as there is any of these. Changed under the store's lock; without it, what <see cref="Visible"/> answers can be read.
/// </summary>
internal sealed class BlockNode(BlockKey key, TenantAccount account)
{
    public readonly BlockKey Key = key;

    /// <summary>Who pays for its block. A whole tree belongs to one account.</summary>
    public readonly TenantAccount Account = account;

    /// <summary>The visible block, for whoever has the store's lock.</summary>
    public BlockEntry? Entry;

    /// <summary>One visible block takes the place of another.</summary>
    public volatile bool IsReplacing;

    /// <summary>Next one of <see cref="NodeTable"/>.</summary>
    public BlockNode? NextInTable;

    /// <summary>The first of the running writes; the others hang on it.</summary>
    public BlockWrite? Writes;

    /// <summary>Of those, the one that keeps others from beginning.</summary>
    public BlockWrite? Writer;

    /// <summary>A write of it is about to begin.</summary>
    public bool IsReserving;

    public BlockNode? Parent;
    public BlockNode? FirstChild;
    public BlockNode? NextSibling;
    public BlockNode? PreviousSibling;

    /// <summary>Children that have a visible block.</summary>
    public int VisibleChildren;

    /// <summary>
    /// What keeps the block from being evicted: leases and a pin of its own, running writes of children, and, where its account counts
    /// them, children that are kept themselves.
    /// </summary>
    public int Locks;

    /// <summary>Its number in the policy of its account; -1 for none.</summary>
    public int Slot = -1;

    /// <summary>The last request that used it.</summary>
    public long Request;

    // Copies that can go, by last use.
    public BlockNode? NewerCopy;
    public BlockNode? OlderCopy;
    public bool IsListedCopy;

    /// <summary>What policies know it by.</summary>
    public ulong Fingerprint => KeyHash.Fingerprint(in Key);

    /// <summary>The visible block, without the store's lock. What is being replaced is never seen to be absent.</summary>
    public BlockEntry? Visible
    {
        get
        {
            if (Volatile.Read(ref Entry) is { } entry)
                return entry;
            for (var wait = new SpinWait(); IsReplacing; wait.SpinOnce())
            {
            }

            return Volatile.Read(ref Entry);
        }
    }
}
