using System.Buffers;
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

    private readonly ClientMessages _messages = new(Acme, [.. "a preamble with the name "u8, .. Encoding.UTF8.GetBytes(Client)]);

    public void Dispose() => _messages.Dispose();

    public static TheoryData<string, string> Own() => new()
    {
        { "prefix", KeyOf(Acme) },
        { "kvcache.tickets", Acme.ToString() },
        { "sys.svc.manifest", "127.0.0.1:7410@1" },
    };

    public static TheoryData<string, string> Foreign() => new()
    {
        { "prefix", KeyOf(Evil) },
        { "prefix", KeyOf(Acme).ToUpperInvariant() }, // another grain for Orleans, of the same block
        { "kvcache.tickets", Evil.ToString() },
        { "sys.svc.silo-control", "127.0.0.1:7410@1" },
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

    private static byte[] Head(uint flags, GrainId sender, GrainId target)
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
