using System.Text.RegularExpressions;
using Xunit;

namespace KvCache.UnitTests;

public sealed partial class HashVectorTests
{
    private static readonly CacheNamespace Acme = new()
    {
        Tenant = "acme",
        Model = "m",
        Revision = "r1",
        TensorParallelRank = 1,
        TensorParallelSize = 2,
        Salt = "s",
        Layout = KvLayout.Create(layers: 2, kvHeads: 1, headDim: 4, KvDataType.Float16, tokensPerBlock: 16),
    };

    private static readonly CacheNamespace Formatted = Acme with
    {
        NumberFormat = "fp8_e4m3",
        Fields = new Dictionary<string, string> { ["scales"] = "k=0.5,v=2", ["rope"] = "" },
    };

    private static readonly Dictionary<string, Func<string>> Computed = new()
    {
        ["h₀"] = () => PrefixHasher.TokenRoot.ToString(),
        ["h₁ of tokens 0..15 (16 tokens per block)"] = () => Chain()[0].ToString(),
        ["h₂ of tokens 0..31"] = () => Chain()[1].ToString(),
        ["text \"Hello\", part 0"] = () => PrefixHasher.HashText("Hello").ToString(),
        ["text \"Grüße\", part 3"] = () => PrefixHasher.HashText("Grüße", 3).ToString(),
        ["engine key 00 01 02 ff, group 1"] = () => PrefixHasher.HashEngineKey([0, 1, 2, 255], 1).ToString(),
        ["namespace id of tenant `acme`, model `m`, revision `r1`, no LoRA, rank 1 of 2, salt `s`, layout 2 layers, 1 head, dim 4, "
            + "float16, 16 tokens per block, K and V"] = () => Acme.Id.ToString(),
        ["the same with number format `fp8_e4m3` and the fields `rope` (empty) and `scales` = `k=0.5,v=2`"] = () => Formatted.Id.ToString(),
        ["tenant id of `acme`"] = () => TenantId.Of("acme").ToString(),
        ["vLLM root, PYTHONHASHSEED `0`"] = () => VllmBlockHasher.Root("0").ToString(),
        ["vLLM block of tokens 0..15, PYTHONHASHSEED `0`"] = () => Vllm()[0].ToString(),
        ["vLLM block of tokens 16..31 behind it"] = () => Vllm()[1].ToString(),
        ["vLLM block of tokens 0..15 with the extra key `tenantA`"] = () => Vllm(EngineExtraKey.Text("tenantA"))[0].ToString(),
        ["SGLang page of tokens 0..15"] = () => SglangPageHasher.HashTokens([.. Enumerable.Range(0, 16)], 16)[0].ToString(),
    };

    public static TheoryData<string, string> Documented()
    {
        var page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "hashing.md"));
        return new(Row().Matches(page).Select(row => (row.Groups["what"].Value, row.Groups["value"].Value)));
    }

    [Theory]
    [MemberData(nameof(Documented))]
    public void The_documented_value_is_the_computed_one(string what, string value) => Assert.Equal(value, Computed[what]());

    [Fact]
    public void Every_kind_of_name_has_a_documented_value() =>
        Assert.Equal(Computed.Keys.Order(), Documented().Select(row => row.Data.Item1).Order());

    private static ReadOnlySpan<BlockHash> Chain() => PrefixHasher.HashTokens(Enumerable.Range(0, 40).ToArray(), 16).Hashes;

    private static BlockHash[] Vllm(params EngineExtraKey[] first) =>
        VllmBlockHasher.HashTokens(
            VllmBlockHasher.Root("0"), [.. Enumerable.Range(0, 40)], extraKeysOf: block => block == 0 ? first : null);

    [GeneratedRegex(@"^\| (?<what>.+) \| `(?<value>[0-9a-f]+)` \|", RegexOptions.Multiline)]
    private static partial Regex Row();
}
