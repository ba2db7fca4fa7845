using Xunit.Sdk;

namespace KvCache.ProcessTests.Documents;

/// <summary>The comparison that all tests of documents rest on.</summary>
public sealed class VaryingTests
{
    [Theory]
    [InlineData("3 hits", "3 hits")]
    [InlineData("≈ 12.5 ms", "≈ 9 ms")]
    [InlineData("│ ≈ 37.8 ms │", "│   1,234.5 ms │")]
    [InlineData("id …, done", "id 4711, done")]
    [InlineData("a\n…\nz", "a\nb\nc\nz")]
    [InlineData("a\n…\nz", "a\nz")]
    [InlineData("≈ 0.0000038; below", "≈ 1E-7; below")]
    public void What_is_marked_may_vary(string shown, string printed) => Varying.AssertShown(shown, printed);

    [Theory]
    [InlineData("3 hits", "4 hits")]
    [InlineData("≈ 3 hits", "≈ 3 misses")]
    [InlineData("≈ 3 hits", "many hits")]
    [InlineData("a\nb", "a")]
    [InlineData("a", "a\nb")]
    [InlineData("a\n…\nz", "a\nb")]
    [InlineData("(true)", "true")]
    public void Nothing_else_may(string shown, string printed) => Assert.Throws<FailException>(() => Varying.AssertShown(shown, printed));
}
