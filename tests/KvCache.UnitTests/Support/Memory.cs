using KvCache.Engine.Storage;
using Xunit;

namespace KvCache.UnitTests.Support;

internal static class Memory
{
    /// <summary>A committed arena in private memory.</summary>
    public static Arena Arena(int pages)
    {
        var arena = KvCache.Engine.Storage.Arena.CreatePrivate((long)pages * KvCache.Engine.Storage.Arena.PageBytes);
        arena.Commit(TestContext.Current.CancellationToken);
        return arena;
    }
}
