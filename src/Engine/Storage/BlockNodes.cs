namespace KvCache.Engine.Storage;

/// <summary>
/// The prefix trees of a store: nodes by key, linked to what comes before them. A node whose block is not here, because it is being written
/// or was deleted, stays for as long as something is behind it.
/// </summary>
/// <remarks>
/// What is before a locked block is no leaf, and therefore stays. For accounts that may lock only so much it is counted too: their locks
/// walk up to the first block that is locked already, so that one request after another in a chain makes one step. Everything else is O(1).
/// </remarks>
internal sealed class BlockNodes(TenantAccounts accounts, Func<TenantAccount, TenantBlocks> blocksOf)
{
    private const int LongestCheck = 1 << 16; // blocks up to the root, where a link could close a circle

    private readonly NodeTable _nodes = new();

    /// <summary>Blocks that a lock, or its end, has walked over on its way to the root.</summary>
    public long Steps { get; private set; }

    public int Count => _nodes.Count;

    /// <summary>The node of a key, or null. Any thread.</summary>
    public BlockNode? Find(in BlockKey key) => _nodes.Find(in key);

    /// <summary>The node of a block that comes behind another one.</summary>
    /// <param name="node">The node, if it is there and was found already.</param>
    /// <param name="key">Its key.</param>
    /// <param name="parent">Hash of the block before it; zero for none.</param>
    public BlockNode GetOrAdd(BlockNode? node, BlockKey key, BlockHash parent)
    {
        node ??= GetOrAdd(key);
        if (node.Parent is null && node.Entry is null && !parent.IsZero && parent != key.Hash)
            Link(node, GetOrAdd(key with { Hash = parent }));
        return node;
    }

    /// <summary>Keeps a block, and so all before it, from being evicted.</summary>
    public void Lock(BlockNode? node)
    {
        for (; node is not null; node = node.Parent)
        {
            Steps++;
            if (node.Locks++ > 0)
                return;
            if (node.Entry is not null)
                blocksOf(node.Account).Hold(node);
            if (!node.Account.CountsPaths)
                return;
        }
    }

    /// <summary>Ends what <see cref="Lock"/> began.</summary>
    public void Unlock(BlockNode? node)
    {
        for (; node is not null; node = node.Parent)
        {
            Steps++;
            if (--node.Locks > 0)
                return;
            if (node.Entry is not null)
                blocksOf(node.Account).Release(node);
            if (!node.Account.CountsPaths)
                return;
        }
    }

    /// <summary>Bytes that a lock would put out of reach of eviction, counted up to the limit of their account.</summary>
    public static long BytesToLock(BlockNode? node)
    {
        long bytes = 0;
        for (; node is { Locks: 0, Account.CountsPaths: true } && bytes <= node.Account.Limits.Locked; node = node.Parent)
            bytes += node.Entry?.ArenaBytes ?? 0;
        return bytes;
    }

    /// <summary>Forgets a node that nothing needs any more, and those before it that were there for its sake.</summary>
    public void DropUnused(BlockNode? node)
    {
        while (node is { Entry: null, Writes: null, FirstChild: null, Locks: 0, IsReserving: false })
        {
            var parent = node.Parent;
            Unlink(node);
            if (node.Slot >= 0)
                blocksOf(node.Account).FreeSlot(node);
            _nodes.Remove(node);
            node = parent;
        }
    }

    private BlockNode GetOrAdd(BlockKey key)
    {
        if (_nodes.Find(in key) is { } known)
            return known;
        var node = new BlockNode(key, accounts.Of(key.Namespace));
        _nodes.Add(node);
        return node;
    }

    private void Link(BlockNode node, BlockNode parent)
    {
        if (parent.Account != node.Account || (node.FirstChild is not null && IsBefore(node, parent)))
        {
            DropUnused(parent);
            return;
        }

        node.Parent = parent;
        node.NextSibling = parent.FirstChild;
        if (parent.FirstChild is not null)
            parent.FirstChild.PreviousSibling = node;
        parent.FirstChild = node;
        if (node.Locks > 0 && node.Account.CountsPaths)
            Lock(parent);
    }

    // Clients say what comes before a block, and may say that it comes before itself.
    private static bool IsBefore(BlockNode node, BlockNode other)
    {
        var steps = 0;
        for (BlockNode? at = other; at is not null; at = at.Parent)
        {
            if (at == node || ++steps == LongestCheck)
                return true;
        }

        return false;
    }

    private static void Unlink(BlockNode node)
    {
        if (node.Parent is not { } parent)
            return;
        if (node.PreviousSibling is not null)
            node.PreviousSibling.NextSibling = node.NextSibling;
        else
            parent.FirstChild = node.NextSibling;
        if (node.NextSibling is not null)
            node.NextSibling.PreviousSibling = node.PreviousSibling;
        node.Parent = node.NextSibling = node.PreviousSibling = null;
    }
}
