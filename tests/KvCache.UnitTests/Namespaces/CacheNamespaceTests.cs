using CsCheck;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class CacheNamespaceTests
{
    // Few characters, tags and lengths among them, so that fields that run into each other would be met.
    private static readonly Gen<string> Text = Gen.String[Gen.Char["a\0\u0001\u0002\u0003é"], 0, 3];

    private static readonly Gen<IReadOnlyDictionary<string, string>> Extra =
        Gen.Select(Text, Text).Array[0, 3].Select(pairs => (IReadOnlyDictionary<string, string>)pairs.GroupBy(pair => "k" + pair.Item1)
            .ToDictionary(group => group.Key, group => group.First().Item2, StringComparer.Ordinal));

    private static readonly Gen<CacheNamespace> Namespaces = Gen.Select(
        Gen.Select(Text, Text, Text), Gen.Select(Text, Text, Text, Extra), Gen.Int[0, 1], Gen.Int[2, 3], KvLayoutTests.Any,
            (a, b, rank, size, layout) => new CacheNamespace
            {
                Tenant = "t" + a.Item1,
                Model = a.Item2,
                Revision = a.Item3,
                LoraAdapter = b.Item1,
                Salt = b.Item2,
                TensorParallelRank = rank,
                TensorParallelSize = size,
                Layout = layout,
                NumberFormat = b.Item3,
                Fields = b.Item4,
            });

    [Fact]
    public void What_is_encoded_is_decoded() =>
        Namespaces.Sample(original =>
        {
            var decoded = CacheNamespace.Decode(original.Encoded);
            Assert.Equal(Fields(original), Fields(decoded));
            Assert.Equal(original, decoded);
            Assert.Equal(original.Id, decoded.Id);
            Assert.Equal(original.GetHashCode(), decoded.GetHashCode());
        });

    [Fact]
    public void Two_namespaces_that_differ_in_a_field_differ_in_their_encoding_and_id() =>
        Gen.Select(Namespaces, Namespaces, Gen.Int[0, 1023]).Sample((a, b, taken) =>
        {
            // Most fields are taken over, so that near misses are frequent.
            var near = new CacheNamespace
            {
                Tenant = (taken & 1) != 0 ? a.Tenant : b.Tenant,
                Model = (taken & 2) != 0 ? a.Model : b.Model,
                Revision = (taken & 4) != 0 ? a.Revision : b.Revision,
                LoraAdapter = (taken & 8) != 0 ? a.LoraAdapter : b.LoraAdapter,
                Salt = (taken & 16) != 0 ? a.Salt : b.Salt,
                TensorParallelRank = (taken & 32) != 0 ? a.TensorParallelRank : b.TensorParallelRank,
                TensorParallelSize = (taken & 64) != 0 ? a.TensorParallelSize : b.TensorParallelSize,
                Layout = (taken & 128) != 0 ? a.Layout : b.Layout,
                NumberFormat = (taken & 256) != 0 ? a.NumberFormat : b.NumberFormat,
                Fields = (taken & 512) != 0 ? a.Fields : b.Fields,
            };
            var equal = Fields(a).Equals(Fields(near));
            Assert.Equal(equal, a.Encoded.SequenceEqual(near.Encoded));
            Assert.Equal(equal, a.Id == near.Id);
            Assert.Equal(equal, a == near);
        }, iter: 5000);

    [Fact]
    public void Each_field_alone_makes_another_namespace()
    {
        var ns = Names.Namespace with
        {
            TensorParallelSize = 4,
            Fields = new Dictionary<string, string> { ["scales"] = "a", ["rope"] = "" }
        };
        CacheNamespace[] changed =
        [
            ns with { Tenant = "other" },
            ns with { Model = "other" },
            ns with { Revision = "other" },
            ns with { LoraAdapter = "other" },
            ns with { TensorParallelRank = 1 },
            ns with { TensorParallelSize = 8 },
            ns with { Salt = "other" },
            ns with { Layout = KvLayout.Opaque(ns.Layout.BlockBytes, ns.Layout.TokensPerBlock) },
            .. new[] { "fp8_e4m3", "fp8_e5m2", "int4_per_token_head", "nvfp4" }.Select(format => ns with { NumberFormat = format }),
            ns with { Fields = new Dictionary<string, string> { ["scales"] = "b", ["rope"] = "" } },
            ns with { Fields = new Dictionary<string, string> { ["scales"] = "a" } },
            ns with { Fields = new Dictionary<string, string> { ["scales"] = "", ["rope"] = "a" } },
            ns with { Fields = new Dictionary<string, string> { ["scale"] = "sa", ["rope"] = "" } },
        ];

        Assert.Equal(changed.Length + 1, changed.Append(ns).Select(each => each.Id).Distinct().Count());
        Assert.Equal(ns.Id, (ns with { Fields = new Dictionary<string, string> { ["rope"] = "", ["scales"] = "a" } }).Id);
    }

    [Fact]
    public void Fields_are_sorted_by_their_bytes_and_bounded()
    {
        // U+FF5E comes before U+1F600 in UTF-8, and behind it in UTF-16.
        var ns = Names.Namespace with { Fields = new Dictionary<string, string> { ["\U0001F600"] = "2", ["\uFF5E"] = "1" } };
        Assert.Equal(ns, CacheNamespace.Decode(ns.Encoded));
        var text = System.Text.Encoding.UTF8.GetString(ns.Encoded);
        Assert.True(text.IndexOf('\uFF5E', StringComparison.Ordinal) < text.IndexOf("\U0001F600", StringComparison.Ordinal));

        Assert.Contains(
            "65 entries; at most 64", Refused(Enumerable.Range(0, 65).ToDictionary(i => $"{i}", _ => "")), StringComparison.Ordinal);
        Assert.Contains("is empty", Refused(new() { [""] = "x" }), StringComparison.Ordinal);
        Assert.Contains("Fields[scales] has 257 bytes", Refused(new() { ["scales"] = new string('x', 257) }), StringComparison.Ordinal);

        static string Refused(Dictionary<string, string> fields) =>
            Assert.Throws<ArgumentException>(() => (Names.Namespace with { Fields = fields }).Id).Message;
    }

    [Fact]
    public void Fields_that_their_owner_changes_later_stay_as_they_were()
    {
        var fields = new Dictionary<string, string> { ["scales"] = "a" };
        var ns = Names.Namespace with { Fields = fields };
        fields["scales"] = "b";
        Assert.Equal("a", CacheNamespace.Decode(ns.Encoded).Fields["scales"]);
    }

    [Fact]
    public void A_copy_with_another_field_has_another_id() =>
        Namespaces.Sample(original =>
        {
            var id = original.Id;
            var copy = original with { Salt = original.Salt + "+" };
            Assert.NotEqual(id, copy.Id);
            Assert.Equal(original.Salt + "+", CacheNamespace.Decode(copy.Encoded).Salt);
            Assert.Equal(id, (copy with { Salt = original.Salt }).Id);
        });

    [Fact]
    public void Every_change_of_an_encoding_is_refused_or_another_namespace() =>
        Gen.Select(Namespaces, Gen.Select(Gen.Int[0, 1000], Gen.Byte[1, 255]).Array[1, 4]).Sample((original, changes) =>
        {
            var bytes = original.Encoded.ToArray();
            foreach (var (at, change) in changes)
                bytes[at % bytes.Length] ^= change;
            CheckDecode(bytes, original);
        }, iter: 5000);

    [Fact]
    public void A_cut_or_lengthened_encoding_is_refused() =>
        Gen.Select(Namespaces, Gen.Int[0, 1000], Gen.Byte).Sample((original, at, more) =>
        {
            var bytes = original.Encoded.ToArray();
            Assert.Throws<KvFormatException>(() => CacheNamespace.Decode(bytes.AsSpan(0, at % bytes.Length)));
            Assert.Throws<KvFormatException>(() => CacheNamespace.Decode([.. bytes, more]));
        });

    [Fact]
    public void Random_bytes_are_refused() =>
        Gen.Byte[0, 9].Array[0, 200].Sample(bytes => Assert.Throws<KvFormatException>(() => CacheNamespace.Decode(bytes)));

    [Fact]
    public void A_text_of_256_bytes_is_the_longest()
    {
        var longest = Names.Namespace with { Model = new string('é', 128) };
        Assert.Equal(longest, CacheNamespace.Decode(longest.Encoded));
        var error = Assert.Throws<ArgumentException>(() => (longest with { Model = longest.Model + "x" }).Id);
        Assert.Equal("Model has 257 bytes of UTF-8; at most 256 are accepted.", error.Message);
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(1, 1)]
    [InlineData(0, 0)]
    [InlineData(0, 65537)]
    public void A_rank_outside_of_its_size_is_an_error(int rank, int size)
    {
        var error = Assert.Throws<ArgumentException>(
            () => (Names.Namespace with { TensorParallelRank = rank, TensorParallelSize = size }).Id);
        Assert.Contains($"got rank {rank} of {size}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_namespace_needs_a_tenant() =>
        Assert.Contains(
            "needs a tenant", Assert.Throws<ArgumentException>(() => (Names.Namespace with { Tenant = "" }).Id).Message,
            StringComparison.Ordinal);

    [Fact]
    public void A_text_that_is_not_well_formed_is_an_error_and_never_meets_another() => Assert.All(["\uD83D", "a\uDE00b"], salt =>
    {
        var error = Assert.Throws<ArgumentException>(() => (Names.Namespace with { Salt = salt }).Id);
        Assert.Contains("Salt", error.Message, StringComparison.Ordinal);
    });

    [Fact]
    public void Threads_that_ask_a_new_namespace_for_its_id_get_the_same_one()
    {
        for (var round = 0; round < 200; round++)
        {
            var fresh = Enumerable.Range(0, 100).Select(i => Names.Namespace with { Salt = $"{i}" }).ToArray();
            var ids = new NamespaceId[2][];
            Parallel.For(0, 2, thread => ids[thread] = Array.ConvertAll(fresh, ns => ns.Id));
            Assert.Equal(ids[0], ids[1]);
        }
    }

    [Fact]
    public void The_salt_is_not_logged() =>
        Assert.DoesNotContain("secret", (Names.Namespace with { Salt = "secret" }).ToString(), StringComparison.Ordinal);

    private static void CheckDecode(byte[] bytes, CacheNamespace original)
    {
        try
        {
            var decoded = CacheNamespace.Decode(bytes);
            Assert.Equal(bytes, decoded.Encoded);
            Assert.Equal(bytes.AsSpan().SequenceEqual(original.Encoded), Fields(original).Equals(Fields(decoded)));
        }
        catch (KvFormatException)
        {
            Assert.False(bytes.AsSpan().SequenceEqual(original.Encoded));
        }
    }

    private static (string, string, string, string, string, int, int, KvLayout, string, string) Fields(CacheNamespace ns) =>
        (ns.Tenant, ns.Model, ns.Revision, ns.LoraAdapter, ns.Salt, ns.TensorParallelRank, ns.TensorParallelSize, ns.Layout,
            ns.NumberFormat,
            string.Join('|',
                ns.Fields.OrderBy(field => field.Key, StringComparer.Ordinal)
                .Select(field => $"{field.Key.Length}{field.Key}{field.Value.Length}{field.Value}")));
}
