namespace KvCache.ModelTests;

public sealed class HarborTests
{
    [Fact]
    public void The_check_vector_of_its_readme_is_reproduced()
    {
        using var harbor = TestModels.Harbor();
        using var session = harbor.Model.CreateSession();
        var prompt = harbor.Tokenizer.Encode(HarborModel.Prompt);

        var text = harbor.Tokenizer.Decode(TestModels.Continue(session, prompt, HarborModel.Answer.Length));

        Assert.Equal(341, prompt.Length);
        Assert.Equal(HarborModel.Answer, text);
    }

    [Fact]
    public void Token_by_token_prefill_continues_like_a_batched_one()
    {
        using var harbor = TestModels.Harbor();
        using var batched = harbor.Model.CreateSession();
        using var single = harbor.Model.CreateSession();
        var prompt = harbor.Tokenizer.Encode(HarborModel.Prompt);

        foreach (var token in prompt.AsSpan(0, prompt.Length - 1))
            single.Forward([token]).Dispose();

        Assert.Equal(TestModels.Continue(batched, prompt, 100), TestModels.Continue(single, prompt.AsSpan(^1), 100));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(64)]
    [InlineData(340)]
    public void Imported_blocks_continue_like_computed_ones(int tokensPerBlock)
    {
        using var harbor = TestModels.Harbor();
        using var computed = harbor.Model.CreateSession();
        var prompt = harbor.Tokenizer.Encode(HarborModel.Prompt);
        var expected = TestModels.Continue(computed, prompt, 100);

        computed.Truncate(prompt.Length);
        using var imported = TestModels.Transplant(harbor, computed, tokensPerBlock);

        Assert.Equal(prompt.Length / tokensPerBlock * tokensPerBlock, imported.Length);
        Assert.Equal(expected, TestModels.Continue(imported, prompt.AsSpan(imported.Length), 100));
    }

    [Fact]
    public void A_zeroed_block_changes_the_text()
    {
        using var harbor = TestModels.Harbor();
        using var computed = harbor.Model.CreateSession();
        var prompt = harbor.Tokenizer.Encode(HarborModel.Prompt);
        computed.Forward(prompt).Dispose();

        using var imported = TestModels.Transplant(harbor, computed, 64, block => block.zero_());
        var text = harbor.Tokenizer.Decode(TestModels.Continue(imported, prompt.AsSpan(imported.Length), HarborModel.Answer.Length));

        Assert.NotEqual(HarborModel.Answer, text);
    }

    [Fact]
    public void A_truncated_sequence_continues_as_if_nothing_had_followed()
    {
        using var harbor = TestModels.Harbor();
        using var session = harbor.Model.CreateSession();
        var prompt = harbor.Tokenizer.Encode(HarborModel.Prompt);
        var expected = TestModels.Continue(session, prompt, 40);

        session.Truncate(prompt.Length - 10);

        Assert.Equal(expected, TestModels.Continue(session, prompt.AsSpan(^10), 40));
    }

    [Fact]
    public void A_character_beyond_ascii_is_refused_by_its_tokenizer()
    {
        using var harbor = TestModels.Harbor();

        var error = Assert.Throws<ArgumentException>(() => harbor.Tokenizer.Encode("Dün"));

        Assert.Contains("offset 1", error.Message, StringComparison.Ordinal);
    }
}
