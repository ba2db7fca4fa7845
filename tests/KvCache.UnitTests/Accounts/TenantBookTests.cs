using System.Text;
using KvCache.Silo.Accounts;
using KvCache.Silo.Options;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>A file of tenants that somebody has spoilt, and names that are none: a sentence each.</summary>
public sealed class TenantBookTests
{
    [Theory]
    [InlineData("""{"acme":null}""")]
    [InlineData("""{"acme":{"version":1,"secret":null}}""")]
    [InlineData("""{"acme":{"version":1,"secretFile":null}}""")]
    [InlineData("""{"acme":{}}""")]
    [InlineData("[]")]
    [InlineData("")]
    public void A_book_with_holes_is_none(string json) =>
        Assert.NotEmpty(Assert.Throws<FormatException>(() => TenantBook.Read(Encoding.UTF8.GetBytes(json))).Message);

    [Fact]
    public void A_folder_is_no_book() =>
        Assert.Contains("folder", Assert.Throws<IOException>(() => TenantBook.Load(Path.GetTempPath())).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("a\ninfo: all is well")]
    [InlineData("a\u001b[2J")]
    [InlineData("a\0")]
    public void A_name_with_control_characters_is_no_tenants(string name)
    {
        var tenants = new Dictionary<string, TenantOptions.Tenant> { [name] = new() { Secret = new string('s', 20) } };

        var problem = TenantOptions.Explain(tenants);

        Assert.Contains("control characters", problem, StringComparison.Ordinal);
        Assert.DoesNotContain(problem!, char.IsControl);
    }
}
