using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Json.Nodes;
using KvCache.InferenceNode;

namespace KvCache.ModelTests;

public sealed class LoaderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvcache-loader-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_sharded_checkpoint_with_a_head_of_its_own_answers_like_the_single_file()
    {
        CopyHarbor(config => config["tie_word_embeddings"] = false);
        Shard();

        using var sharded = TestModels.Load(_folder);
        using var session = sharded.Model.CreateSession();
        var text = sharded.Tokenizer.Decode(
            TestModels.Continue(session, sharded.Tokenizer.Encode(HarborModel.Prompt), HarborModel.Answer.Length));

        Assert.Equal(HarborModel.Answer, text);
    }

    [Fact]
    public void Other_weights_have_another_revision()
    {
        CopyHarbor();
        using var before = TestModels.Load(_folder);
        using (var stream = File.OpenWrite(Path.Combine(_folder, "model.safetensors")))
        {
            stream.Position = stream.Length - 1;
            stream.WriteByte(0x11);
        }

        using var after = TestModels.Load(_folder);

        Assert.NotEqual(before.Model.Revision, after.Model.Revision);
        using var harbor = TestModels.Harbor();
        Assert.Equal(harbor.Model.Revision, before.Model.Revision);
    }

    [Theory]
    [InlineData("model_type", "\"gpt2\"")]
    [InlineData("hidden_act", "\"gelu\"")]
    [InlineData("attention_bias", "true")]
    [InlineData("rope_scaling", "{\"factor\":8}")]
    [InlineData("hidden_size", "-1")]
    [InlineData("hidden_size", "\"128\"")]
    [InlineData("num_hidden_layers", "0")]
    [InlineData("num_hidden_layers", "5")]
    [InlineData("num_key_value_heads", "3")]
    [InlineData("head_dim", "31")]
    [InlineData("head_dim", "64")]
    [InlineData("rms_norm_eps", "0")]
    [InlineData("rope_theta", "-3")]
    [InlineData("vocab_size", "null")]
    [InlineData("vocab_size", "256")]
    public void A_configuration_that_is_wrong_or_unsupported_is_refused_with_its_reason(string field, string value)
    {
        CopyHarbor(config => config[field] = JsonNode.Parse(value));

        var error = Assert.Throws<ModelFormatException>(() => ModelLoader.Load(_folder));

        Assert.Contains(_folder, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_missing_is_named()
    {
        Assert.Contains("no model", Refusal(Path.Combine(_folder, "nothing")), StringComparison.Ordinal);
        Assert.Contains("config.json", Refusal(_folder), StringComparison.Ordinal);
        CopyHarbor();
        File.Delete(Path.Combine(_folder, "tokenizer_config.json"));
        Assert.Contains("tokenizer.model", Refusal(_folder), StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(_folder, "tokenizer.model"), "not SentencePiece");
        Assert.Contains("not a SentencePiece model", Refusal(_folder), StringComparison.Ordinal);
        File.Copy(Path.Combine(HarborModel.Folder, "tokenizer_config.json"), Path.Combine(_folder, "tokenizer_config.json"));
        File.Delete(Path.Combine(_folder, "model.safetensors"));
        Assert.Contains("model.safetensors", Refusal(_folder), StringComparison.Ordinal);
        Assert.Contains("tiny", Refusal("random:huge"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("../elsewhere.safetensors")]
    [InlineData("/etc/passwd")]
    [InlineData("")]
    public void A_shard_outside_of_the_directory_is_refused(string shard)
    {
        CopyHarbor();
        File.Delete(Path.Combine(_folder, "model.safetensors"));
        File.WriteAllText(
            Path.Combine(_folder, "model.safetensors.index.json"),
            JsonSerializer.Serialize(new { weight_map = new Dictionary<string, string> { ["model.norm.weight"] = shard } }));

        Assert.Contains("a file beside it", Refusal(_folder), StringComparison.Ordinal);
    }

    [Fact]
    public void A_llama2c_checkpoint_of_the_wrong_length_or_version_is_refused()
    {
        var path = Path.Combine(_folder, "model.bin");
        var header = new byte[28];
        int[] fields = [64, 172, 5, 8, 4, 512, 512];
        for (var i = 0; i < fields.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(4 * i), fields[i]);

        File.WriteAllBytes(path, header);
        Assert.Contains("bytes", Refusal(path), StringComparison.Ordinal);
        File.WriteAllBytes(path, header[..20]);
        Assert.Contains("shorter", Refusal(path), StringComparison.Ordinal);
        BinaryPrimitives.WriteInt32LittleEndian(header, 0x616b3432);
        File.WriteAllBytes(path, header);
        Assert.Contains("version", Refusal(path), StringComparison.Ordinal);
        BinaryPrimitives.WriteInt32LittleEndian(header, -5);
        File.WriteAllBytes(path, header);
        Assert.Contains("hidden size", Refusal(path), StringComparison.Ordinal);
    }

    private static string Refusal(string source) => Assert.Throws<ModelFormatException>(() => ModelLoader.Load(source)).Message;

    private void CopyHarbor(Action<JsonNode>? change = null)
    {
        foreach (var name in new[] { "config.json", "model.safetensors", "tokenizer_config.json" })
            File.Copy(Path.Combine(HarborModel.Folder, name), Path.Combine(_folder, name));
        if (change is null)
            return;

        var path = Path.Combine(_folder, "config.json");
        var config = JsonNode.Parse(File.ReadAllText(path))!;
        change(config);
        File.WriteAllText(path, config.ToJsonString());
    }

    /// <summary>Replaces the single file by two shards and an index, and stores the embedding a second time as the head.</summary>
    private void Shard()
    {
        var path = Path.Combine(_folder, "model.safetensors");
        var content = File.ReadAllBytes(path);
        var data = 8 + (int)BinaryPrimitives.ReadUInt64LittleEndian(content);
        SafetensorsBuilder[] shards = [new(), new()];
        var map = new Dictionary<string, string>();
        using (var file = SafetensorsFile.Open(path))
        {
            foreach (var (name, entry) in file.Entries)
            {
                Add(map.Count % 2, name, entry);
                if (name == "model.embed_tokens.weight")
                    Add(1, "lm_head.weight", entry);
            }
        }

        File.Delete(path);
        for (var i = 0; i < shards.Length; i++)
            File.WriteAllBytes(Path.Combine(_folder, $"model-{i}.safetensors"), shards[i].Build());
        File.WriteAllText(path + ".index.json", JsonSerializer.Serialize(new { weight_map = map }));

        void Add(int shard, string name, SafetensorsEntry entry)
        {
            shards[shard].Add(name, entry.DataType, [.. entry.Shape], content[(data + (int)entry.Begin)..(data + (int)entry.End)]);
            map[name] = $"model-{shard}.safetensors";
        }
    }
}
