using KvCache.Engine.Storage;
using KvCache.Silo.Accounts;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.Extensions.Options;

namespace KvCache.ClusterTests;

/// <summary>What a ticket of an Orleans client is worth, and until when.</summary>
public sealed class TicketOfficeTests : IDisposable
{
    private const string Secret = "a secret of all the silos";
    private static readonly Dictionary<string, TenantOptions.Tenant> Tenants = new() { ["acme"] = new(), ["evil"] = new() };

    private readonly ShiftedClock _time = new();
    private readonly TenantQuotas _quotas = new(
        new TenantAccounts(), Options.Create(new TenantOptions()), Options.Create(new BlockStoreOptions()),
        Options.Create(new DataPlaneOptions()), Options.Create(new ArenaOptions()));

    public TicketOfficeTests() => _quotas.Apply(Tenants, []);

    public void Dispose() => _quotas.Dispose();

    [Fact]
    public void A_ticket_is_its_tenants_until_it_ends()
    {
        var office = Office(Secret);
        var ticket = office.Issue("acme");
        Assert.True(office.TryRead(ticket.Bytes, out var tenant));
        Assert.Equal(TenantId.Of("acme"), tenant);

        _time.Advance(ticket.Life);
        Assert.False(office.TryRead(ticket.Bytes, out _));
    }

    [Fact]
    public void A_ticket_with_any_other_bit_or_of_other_silos_is_worth_nothing()
    {
        var office = Office(Secret);
        var ticket = office.Issue("acme").Bytes;
        for (var bit = 0; bit < ticket.Length * 8; bit++)
        {
            ticket[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(office.TryRead(ticket, out _));
            ticket[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        Assert.False(office.TryRead(ticket.AsSpan(1), out _));
        Assert.True(office.TryRead(ticket, out _));
        Assert.False(Office("a secret of some other silos").TryRead(ticket, out _));
    }

    [Fact]
    public void A_ticket_of_a_tenant_that_is_not_let_in_any_more_is_worth_nothing_at_once()
    {
        var office = Office(Secret);
        var ticket = office.Issue("acme").Bytes;

        _quotas.Apply(Tenants, ["acme"]);
        Assert.False(office.TryRead(ticket, out _));
        Assert.True(office.TryRead(office.Issue("evil").Bytes, out _));

        _quotas.Apply(Tenants, []);
        Assert.True(office.TryRead(ticket, out _));
    }

    private TicketOffice Office(string secret) => new(
        new ClusterSecrets(Options.Create(new ClusterOptions { Mode = ClusterMode.Localhost, Secret = secret })), _quotas,
        Options.Create(new OrleansDoorOptions()), _time);
}
