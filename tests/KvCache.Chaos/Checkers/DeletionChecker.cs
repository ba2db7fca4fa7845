namespace KvCache.Chaos.Checkers;

/// <summary>What was deleted, and confirmed to be, before a read began is not read.</summary>
internal sealed class DeletionChecker(Journal journal) : Checker(journal)
{
    public const string Name = "resurrected";

    public override string Promise => Name;

    public override void Read(in BlockRead read)
    {
        if (read.Version > 0 && read.Version <= read.Before.Deleted && !read.Entry.State.Uncertain.Contains(read.Version))
            Broken(read.Began, $"Deleted, and back: {read}; the deletion of everything up to {read.Before.Deleted} had been confirmed.");
    }
}
