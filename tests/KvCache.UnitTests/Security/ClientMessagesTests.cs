using System.Buffers;
using System.Net;
using System.Text;
using KvCache.Silo.Security;
using Orleans.Runtime;
using Orleans.Serialization.Buffers;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What the head of a client's message may say, at the gateway.</summary>
public sealed class ClientMessagesTests : IDisposable
{
    private const uint Request = 1 << 16, Response = 2 << 16, OneWay = 3 << 16, CacheUpdates = 1 << 7, LocalOnly = 1 << 9;
    private const string Client = "0123456789abcdef0123456789abcdef", Other = "fedcba9876543210fedcba9876543210";

    private static readonly TenantId Acme = TenantId.Of("acme"), Evil = TenantId.Of("evil");
    private static readonly byte[] Rest = [1, 2, 3, 4, 5];
    private static readonly SiloAddress Gateway = SiloAddress.New(IPAddress.Parse("10.1.2.3"), 7411, 0);

    private readonly ClientMessages _messages = new(Acme, Gateway, [.. "a preamble with the name "u8, .. Encoding.UTF8.GetBytes(Client)]);

    public void Dispose() => _messages.Dispose();

    public static TheoryData<string, string> Own() => new()
    {
        { "prefix", KeyOf(Acme) },
        { "kvcache.tickets", Acme.ToString() },
    };

    public static TheoryData<string, int, int, bool> Addresses() => new()
    {
        { "10.1.2.3", 7411, 0, true },
        { "127.0.0.1", 7411, 0, true },
        { "10.1.2.3", 7411, 5, false },
        { "10.1.2.3", 7410, 0, false },
        { "127.0.0.1", 22, 0, false },
        { "192.0.2.1", 7411, 0, false },
        { "::1", 7411, 0, true },
    };

    public static TheoryData<string, string> Foreign() => new()
    {
        { "prefix", KeyOf(Evil) },
        { "prefix", KeyOf(Acme).ToUpperInvariant() }, // another grain for Orleans, of the same block
        { "kvcache.tickets", Evil.ToString() },
        { "sys.svc.silo-control", "127.0.0.1:7410@1" },
        { "sys.svc.manifest", "127.0.0.1:7410@1" },
        { "management", "0" },
        { "sys.client", Other },
        { "kvcache.nowhere", KeyOf(Acme) },
    };

    [Theory]
    [MemberData(nameof(Own))]
    public void A_request_of_its_own_grains_goes_on_as_it_came(string type, string key)
    {
        foreach (var direction in new[] { Request, OneWay })
        {
            var head = Head(direction, GrainId.Create("sys.client", Client), GrainId.Create(type, key));
            Assert.Null(Pass(head, out var passed));
            Assert.Equal(head, passed);
        }
    }

    [Theory]
    [MemberData(nameof(Addresses))]
    public void What_a_client_needs_to_start_it_asks_this_silo_and_no_address_of_its_choice(string ip, int port, int generation, bool here)
    {
        var (sender, address) = (GrainId.Create("sys.client", Client), SiloAddress.New(IPAddress.Parse(ip), port, generation));
        var manifest = GrainId.Create("sys.svc.manifest", "127.0.0.1:7410@1");
        Assert.Null(Pass(Head(Request, sender, manifest, to: address, from: address), out var passed));
        Assert.Equal(here ? Head(Request, sender, manifest, to: address) : Head(Request, sender, new(ClientMessages.Nowhere, manifest.Key)), passed);

        Assert.Null(Pass(Head(Request, sender, manifest), out passed));
        Assert.Equal(Head(Request, sender, new(ClientMessages.Nowhere, manifest.Key)), passed);
        var own = GrainId.Create("prefix", KeyOf(Acme));
        Assert.Null(Pass(Head(Request, sender, own, to: address, from: address), out passed));
        Assert.Equal(Head(Request, sender, own), passed);
    }

    [Theory]
    [MemberData(nameof(Foreign))]
    public void A_request_of_anything_else_is_led_to_a_grain_that_is_nowhere(string type, string key)
    {
        var sender = GrainId.Create("sys.client", Client);
        Assert.Null(Pass(Head(Request, sender, GrainId.Create(type, key)), out var passed));
        Assert.Equal(Head(Request, sender, new GrainId(ClientMessages.Nowhere, IdSpan.Create(key))), passed);
    }

    [Fact]
    public void An_answer_goes_nowhere()
    {
        Assert.Null(Pass(
            Head(Response, GrainId.Create("sys.client", Client), GrainId.Create("sys.client", "hosted-127.0.0.1:7410@1")), out var passed));
        Assert.Empty(passed);
    }

    [Theory]
    [InlineData(Request | CacheUpdates, Client)]
    [InlineData(Request | LocalOnly, Client)]
    [InlineData(0u, Client)]
    [InlineData(4u << 16, Client)]
    [InlineData(Request, Other)]
    [InlineData(Request, "hosted-127.0.0.1:7410@1")]
    public void Whoever_says_where_grains_are_or_that_he_is_somebody_else_is_turned_away(uint flags, string sender)
    {
        Assert.NotNull(Pass(Head(flags, GrainId.Create("sys.client", sender), GrainId.Create("prefix", KeyOf(Acme))), out var passed));
        Assert.Empty(passed);
    }

    [Fact]
    public void A_sender_that_is_no_client_is_turned_away() =>
        Assert.NotNull(Pass(Head(Request, GrainId.Create("prefix", Client), GrainId.Create("prefix", KeyOf(Acme))), out _));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_hash_code_of_the_senders_choice_is_turned_away(bool ofTheType)
    {
        var (type, key) = (IdSpan.Create("prefix"), IdSpan.Create(KeyOf(Acme)));
        var forged = ofTheType
            ? new GrainId(new GrainType(IdSpan.UnsafeCreate(IdSpan.UnsafeGetArray(type), 7)), key)
            : new GrainId(new GrainType(type), IdSpan.UnsafeCreate(IdSpan.UnsafeGetArray(key), 7));
        Assert.NotNull(Pass(Head(Request, GrainId.Create("sys.client", Client), forged), out _));
    }

    [Fact]
    public void A_head_that_ends_too_early_is_turned_away()
    {
        var head = Head(Request, GrainId.Create("sys.client", Client), GrainId.Create("prefix", KeyOf(Acme)))[..^Rest.Length];
        for (var length = 0; length < head.Length; length++)
            Assert.NotNull(Pass(head[..length], out _));
    }

    private static string KeyOf(TenantId tenant) => new BlockKey(new NamespaceId(tenant, 7), new BlockHash(new byte[32])).ToGrainKey();

    private static byte[] Head(uint flags, GrainId sender, GrainId target, SiloAddress? from = null, SiloAddress? to = null)
    {
        var bytes = new ArrayBufferWriter<byte>();
        var writer = Writer.Create(bytes, null!);
        writer.WriteUInt32(flags);
        writer.WriteInt64(42);
        foreach (var id in new[] { sender, target })
        {
            IdSpanCodec.WriteRaw(ref writer, id.Type.Value);
            IdSpanCodec.WriteRaw(ref writer, id.Key);
        }

        foreach (var silo in new[] { from, to })
        {
            var address = silo?.Endpoint.Address.GetAddressBytes() ?? [];
            writer.WriteVarUInt32(silo is null ? 0 : (uint)(4 + 1 + address.Length + (silo.Endpoint.Port < 128 ? 1 : 2) + 4));
            if (silo is null)
                continue;
            writer.WriteInt32(silo.GetConsistentHashCode());
            writer.WriteVarUInt32((uint)address.Length);
            writer.Write(address);
            writer.WriteVarUInt32((uint)silo.Endpoint.Port);
            writer.WriteInt32(silo.Generation);
        }

        writer.Commit();
        bytes.Write(Rest);
        return bytes.WrittenSpan.ToArray();
    }

    private string? Pass(byte[] head, out byte[] passed)
    {
        var written = new ArrayBufferWriter<byte>();
        var problem = _messages.Pass(head, written);
        passed = written.WrittenSpan.ToArray();
        return problem;
    }
}
