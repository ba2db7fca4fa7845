using KvCache.Storage;
using Xunit;

namespace KvCache.UnitTests.Support;

internal static class Memory
{
    /// <summary>A committed arena in private memory.</summary>
    public static Arena Arena(int pages)
    {
        var arena = KvCache.Storage.Arena.CreatePrivate((long)pages * KvCache.Storage.Arena.PageBytes);
        arena.Commit(TestContext.Current.CancellationToken);
        return arena;
    }
}
