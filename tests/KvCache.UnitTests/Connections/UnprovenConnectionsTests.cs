using System.Net;
using KvCache.Silo.Accounts;
using KvCache.Silo.Connections;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class UnprovenConnectionsTests
{
    private static readonly IPAddress Here = IPAddress.Parse("10.0.0.1"), There = IPAddress.Parse("10.0.0.2");

    private readonly UnprovenConnections<string> _places = new(most: 6, mostOfAddress: 3);

    [Fact]
    public void An_address_with_all_its_places_pushes_out_its_own_oldest()
    {
        Assert.Null(_places.Add("here", Here));
        for (var i = 0; i < 3; i++)
            Assert.Null(_places.Add($"there {i}", There));
        Assert.Equal("there 0", _places.Add("there 3", There));
        Assert.Equal("there 1", _places.Add("there 4", There));
        Assert.True(_places.Remove("here"));
        Assert.False(_places.Remove("there 0"));
    }

    [Fact]
    public void Where_all_places_are_taken_the_address_with_the_most_gives_one()
    {
        for (var i = 0; i < 3; i++)
            Assert.Null(_places.Add($"there {i}", There));
        for (var i = 0; i < 3; i++)
            Assert.Null(_places.Add($"{i}", IPAddress.Parse($"10.0.1.{i}")));
        Assert.Equal("there 0", _places.Add("here", Here));
    }

    [Fact]
    public void A_network_of_IPv6_is_one_address()
    {
        for (var i = 0; i < 3; i++)
            Assert.Null(_places.Add($"{i}", IPAddress.Parse($"2001:db8::{i}")));
        Assert.Equal("0", _places.Add("next", IPAddress.Parse("2001:db8::ffff:0:0:1")));
        Assert.Null(_places.Add("other", IPAddress.Parse("2001:db8:0:1::1")));
        Assert.Equal(UnprovenConnections<string>.OriginOf(Here), UnprovenConnections<string>.OriginOf(Here.MapToIPv6()));
    }

    [Fact]
    public void Wrong_proofs_wait_longer_and_longer_by_address_and_by_tenant_and_are_forgotten()
    {
        var time = new ManualTime();
        var proofs = new WrongProofs(time);
        for (var i = 0; i < WrongProofs.Free; i++)
            Assert.Equal(TimeSpan.Zero, proofs.Failed(Here, "acme"));
        var before = TimeSpan.Zero;
        for (var i = 0; i < 4; i++)
        {
            var wait = proofs.Failed(Here, "acme");
            Assert.True(wait > before);
            before = wait;
        }

        Assert.True(proofs.Failed(There, "acme") > before, "The tenant is guessed at from another address.");
        Assert.True(proofs.Failed(Here, "globex") > TimeSpan.Zero, "The address guesses at another tenant.");
        Assert.Equal(TimeSpan.Zero, proofs.Failed(There, "globex"));
        for (var i = 0; i < 100; i++)
            proofs.Failed(Here, "acme");
        Assert.Equal(WrongProofs.Longest, proofs.Failed(Here, "acme"));
        time.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal(TimeSpan.Zero, proofs.Failed(Here, "acme"));
    }
}
