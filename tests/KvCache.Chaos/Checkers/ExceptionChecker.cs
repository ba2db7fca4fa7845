namespace KvCache.Chaos.Checkers;

/// <summary>Nothing that an engine may call throws.</summary>
internal sealed class ExceptionChecker(Journal journal) : Checker(journal)
{
    public const string Name = "exceptions";

    public override string Promise => Name;

    public override void Called(in CacheCall call)
    {
        if (call.Exception is { } exception)
            Broken(call.Began, $"{call.Kind} threw {exception.GetType().Name}: {exception.Message}");
    }
}
