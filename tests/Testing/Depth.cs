using System.Globalization;

namespace KvCache.Testing;

/// <summary>How deep tests of random input look: as deep as takes seconds, or deeper where <c>./test.sh --long</c> asks for it.</summary>
internal static class Depth
{
    /// <summary>Says how many times deeper than usual.</summary>
    public const string Variable = "KVCACHE_TEST_DEPTH";

    private static readonly int Factor =
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } text ? int.Parse(text, CultureInfo.InvariantCulture) : 1;

    /// <summary>Rounds or samples to run where so many take seconds.</summary>
    public static int Of(int usual) => usual * Factor;
}
