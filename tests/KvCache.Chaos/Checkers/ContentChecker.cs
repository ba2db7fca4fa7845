namespace KvCache.Chaos.Checkers;

/// <summary>Every byte that is handed out is the one that was stored.</summary>
internal sealed class ContentChecker(Journal journal) : Checker(journal)
{
    public const string Name = "wrong";

    public override string Promise => Name;

    public override void Read(in BlockRead read)
    {
        // A version that was begun while the read ran is right.
        if (read.Version == 0 || read.Version > read.Entry.State.Attempted)
            Broken(read.Began, $"Wrong bytes: {read}; versions up to {read.Entry.State.Attempted} were stored.");
    }
}
