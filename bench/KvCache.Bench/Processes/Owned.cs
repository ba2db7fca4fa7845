namespace KvCache.Bench.Processes;

/// <summary>What a scenario has opened, closed in the opposite order.</summary>
internal sealed class Owned : IDisposable
{
    private readonly Stack<IDisposable> _things = [];

    public T Add<T>(T thing)
        where T : IDisposable
    {
        _things.Push(thing);
        return thing;
    }

    public void Dispose()
    {
        while (_things.TryPop(out var thing))
            thing.Dispose();
    }
}
