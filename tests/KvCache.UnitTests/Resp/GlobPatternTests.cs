using System.Text;
using KvCache.Silo.Resp;
using Xunit;

namespace KvCache.UnitTests;

public sealed class GlobPatternTests
{
    [Theory]
    [InlineData("*", "", true)]
    [InlineData("*", "anything", true)]
    [InlineData("h?llo", "hello", true)]
    [InlineData("h?llo", "hllo", false)]
    [InlineData("h*llo", "heeeello", true)]
    [InlineData("h*l*o", "hallooo", true)]
    [InlineData("h[ae]llo", "hallo", true)]
    [InlineData("h[ae]llo", "hillo", false)]
    [InlineData("h[^e]llo", "hallo", true)]
    [InlineData("h[^e]llo", "hello", false)]
    [InlineData("h[a-c]llo", "hbllo", true)]
    [InlineData("h[c-a]llo", "hbllo", true)]
    [InlineData("h[a-c]llo", "hdllo", false)]
    [InlineData("\\*", "*", true)]
    [InlineData("\\*", "a", false)]
    [InlineData("a[", "a[", false)]
    [InlineData("", "", true)]
    [InlineData("", "a", false)]
    public void Patterns_match_as_those_of_Redis(string pattern, string text, bool matches) =>
        Assert.Equal(matches, GlobPattern.IsMatch(Encoding.ASCII.GetBytes(pattern), Encoding.ASCII.GetBytes(text)));

    [Fact]
    public void Many_stars_take_no_exponential_time() =>
        Assert.False(
            GlobPattern.IsMatch(
            Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("a*", 200)) + "b"), Encoding.ASCII.GetBytes(new string('a', 1000))));
}
