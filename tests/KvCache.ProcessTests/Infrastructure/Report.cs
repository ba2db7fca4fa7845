namespace KvCache.ProcessTests.Infrastructure;

/// <summary>Lines of the running test's output.</summary>
internal static class Report
{
    public static void Line(string text) => TestContext.Current.TestOutputHelper?.WriteLine(text);
}
