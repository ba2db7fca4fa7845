namespace KvCache.Engine.Storage;

/// <summary>
/// Copies of other silos' blocks that can go: leaves that nobody holds, by last use. Linked through the nodes: every operation is O(1) and
/// allocates nothing.
/// </summary>
internal sealed class CopyList
{
    private BlockNode? _newest;

    public BlockNode? Oldest { get; private set; }

    /// <summary>Adds a copy: at the new end if it was used last of all, else at the old one, as the block before one that has
    /// gone.</summary>
    public void Add(BlockNode node)
    {
        if (node.IsListedCopy)
            return;
        node.IsListedCopy = true;
        if (_newest is null)
        {
            _newest = Oldest = node;
        }
        else if (node.Entry!.LastUse >= _newest.Entry!.LastUse)
        {
            (node.OlderCopy, _newest.NewerCopy) = (_newest, node);
            _newest = node;
        }
        else
        {
            (node.NewerCopy, Oldest!.OlderCopy) = (Oldest, node);
            Oldest = node;
        }
    }

    /// <summary>A copy was used.</summary>
    public void Renew(BlockNode node)
    {
        if (!node.IsListedCopy)
            return;
        Remove(node);
        Add(node);
    }

    public void Remove(BlockNode node)
    {
        if (!node.IsListedCopy)
            return;
        node.IsListedCopy = false;
        if (node.NewerCopy is not null)
            node.NewerCopy.OlderCopy = node.OlderCopy;
        else
            _newest = node.OlderCopy;
        if (node.OlderCopy is not null)
            node.OlderCopy.NewerCopy = node.NewerCopy;
        else
            Oldest = node.NewerCopy;
        node.NewerCopy = node.OlderCopy = null;
    }
}
