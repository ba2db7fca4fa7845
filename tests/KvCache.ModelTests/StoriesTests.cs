namespace KvCache.ModelTests;

public sealed class StoriesTests
{
    private const string Prompt = "Once upon a time, there was a little girl named Lily. She loved to play outside in the";

    [Fact]
    public void It_tells_a_story()
    {
        using var stories = TestModels.Stories();
        using var session = stories.Model.CreateSession();

        var text = stories.Tokenizer.Decode(TestModels.Continue(session, stories.Tokenizer.Encode("Once upon a time"), 60));

        // What an independent implementation in plain double arithmetic, without libtorch, wrote for this prompt.
        Assert.StartsWith(
            ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.", text,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Imported_blocks_continue_like_computed_ones()
    {
        using var stories = TestModels.Stories();
        using var computed = stories.Model.CreateSession();
        var prompt = stories.Tokenizer.Encode(Prompt);
        var expected = TestModels.Continue(computed, prompt, 80);

        computed.Truncate(prompt.Length);
        using var imported = TestModels.Transplant(stories, computed, 8);

        Assert.Equal(expected, TestModels.Continue(imported, prompt.AsSpan(imported.Length), 80));
    }

    [Fact]
    public void A_zeroed_block_changes_the_text()
    {
        using var stories = TestModels.Stories();
        using var computed = stories.Model.CreateSession();
        var prompt = stories.Tokenizer.Encode(Prompt);
        var expected = TestModels.Continue(computed, prompt, 40);

        computed.Truncate(prompt.Length);
        using var imported = TestModels.Transplant(stories, computed, 8, block => block.zero_());

        Assert.NotEqual(expected, TestModels.Continue(imported, prompt.AsSpan(imported.Length), 40));
    }

    [Fact]
    public void Token_by_token_prefill_continues_like_a_batched_one()
    {
        using var stories = TestModels.Stories();
        using var batched = stories.Model.CreateSession();
        using var single = stories.Model.CreateSession();
        var prompt = stories.Tokenizer.Encode(Prompt);

        foreach (var token in prompt.AsSpan(0, prompt.Length - 1))
            single.Forward([token]).Dispose();

        Assert.Equal(TestModels.Continue(batched, prompt, 80), TestModels.Continue(single, prompt.AsSpan(^1), 80));
    }

    [Fact]
    public void Its_layout_is_1280_bytes_a_token()
    {
        using var stories = TestModels.Stories();

        Assert.Equal(16 * 1280, stories.Model.CreateLayout(16).BlockBytes);
    }
}
