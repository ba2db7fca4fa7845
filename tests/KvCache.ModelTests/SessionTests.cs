using KvCache.InferenceNode;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ModelTests;

public sealed class SessionTests
{
    private static LoadedModel Tiny(KvDataType type = KvDataType.Float32, int seed = 0) =>
        TestModels.Load("random:tiny", new ModelLoadOptions { DataType = type, Seed = seed });

    [Theory]
    [InlineData(KvDataType.Float32, torch.ScalarType.Float32)]
    [InlineData(KvDataType.BFloat16, torch.ScalarType.BFloat16)]
    [InlineData(KvDataType.Float16, torch.ScalarType.Float16)]
    public void An_exported_block_is_contiguous_and_as_large_as_the_layout_says(KvDataType type, torch.ScalarType expected)
    {
        using var tiny = Tiny(type);
        using var session = tiny.Model.CreateSession();
        session.Forward([1, 2, 3, 4, 5, 6, 7]).Dispose();

        using var block = session.ExportBlock(2, 4);

        Assert.Equal([4, 2, 4, 4, 32], block.shape);
        Assert.Equal(expected, block.dtype);
        Assert.True(block.is_contiguous());
        Assert.Equal(tiny.Model.CreateLayout(4).BlockBytes, block.bytes.Length);
    }

    [Fact]
    public void An_exported_block_is_a_copy()
    {
        using var tiny = Tiny();
        using var session = tiny.Model.CreateSession();
        session.Forward(Enumerable.Range(0, 256).ToArray()).Dispose(); // fills the storage exactly: a view of it would be contiguous

        using var first = session.ExportBlock(0, 256);
        first.zero_();
        using var second = session.ExportBlock(0, 256);

        Assert.Contains(second.bytes.ToArray(), b => b != 0);
    }

    [Fact]
    public void A_block_comes_back_with_the_same_bytes()
    {
        using var tiny = Tiny(KvDataType.BFloat16);
        using var session = tiny.Model.CreateSession();
        session.Forward(Enumerable.Range(0, 300).ToArray()).Dispose();
        using var imported = TestModels.Transplant(tiny, session, 100);

        using var before = session.ExportBlock(0, 300);
        using var after = imported.ExportBlock(0, 300);

        Assert.True(before.bytes.SequenceEqual(after.bytes));
    }

    [Fact]
    public void A_long_prompt_computed_in_runs_agrees_with_single_tokens()
    {
        using var tiny = Tiny();
        using var whole = tiny.Model.CreateSession();
        using var single = tiny.Model.CreateSession();
        var prompt = Enumerable.Range(0, 1100).Select(i => i * 7 % 512).ToArray();

        using var expected = whole.Forward(prompt);
        for (var i = 0; i < prompt.Length - 1; i++)
            single.Forward([prompt[i]]).Dispose();
        using var actual = single.Forward([prompt[^1]]);

        Assert.True(torch.allclose(expected, actual, rtol: 1e-3, atol: 1e-4));
    }

    [Fact]
    public void Generating_holds_no_tensors_but_the_session()
    {
        using var tiny = Tiny();
        using var session = tiny.Model.CreateSession();
        session.Forward(new int[600]).Dispose();

        // The count is that of the process: what other tests have left to finalizers goes first, not while this one counts.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        var before = torch.Tensor.TotalCount;

        TestModels.Continue(session, [1], 300); // the storage grows on the way

        Assert.Equal(before, torch.Tensor.TotalCount);
    }

    [Fact]
    public void A_session_and_its_weights_outlive_the_callers_dispose_scope()
    {
        LoadedModel tiny;
        ICausalSession session;
        using (torch.NewDisposeScope())
        {
            tiny = Tiny();
            session = tiny.Model.CreateSession();
            session.Forward([1, 2, 3]);
        }

        using (tiny)
        using (session)
        using (var logits = session.Forward([4]))
            Assert.Equal([512], logits.shape);
    }

    [Fact]
    public void What_does_not_fit_is_refused_and_leaves_the_sequence_as_it_was()
    {
        using var tiny = Tiny();
        using var session = tiny.Model.CreateSession();
        session.Forward([1, 2, 3]).Dispose();
        using var wrongType = torch.zeros([4, 2, 16, 4, 32], torch.ScalarType.BFloat16);
        using var wrongShape = torch.zeros([4, 2, 16, 8, 32]);
        using var wrongRank = torch.zeros([4, 2, 16, 128]);
        using var tooLong = torch.zeros([4, 2, 8190, 4, 32]);

        Assert.Throws<ArgumentException>(() => session.Forward([]));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Forward([1, 512]));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Forward([-1]));
        Assert.Throws<ArgumentException>(() => session.Forward(new int[8190]));
        Assert.Throws<ArgumentException>(() => session.ImportBlock(wrongType));
        Assert.Throws<ArgumentException>(() => session.ImportBlock(wrongShape));
        Assert.Throws<ArgumentException>(() => session.ImportBlock(wrongRank));
        Assert.Throws<ArgumentException>(() => session.ImportBlock(tooLong));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.ExportBlock(3, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.ExportBlock(1, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Truncate(4));
        Assert.Equal(3, session.Length);
    }

    [Fact]
    public void A_disposed_session_says_so()
    {
        using var tiny = Tiny();
        var session = tiny.Model.CreateSession();
        session.Dispose();
        session.Dispose();

        Assert.Throws<ObjectDisposedException>(() => session.Forward([1]));
    }

    [Fact]
    public void Random_weights_follow_the_seed()
    {
        Assert.True(FirstLogits(seed: 1).SequenceEqual(FirstLogits(seed: 1)));
        Assert.False(FirstLogits(seed: 1).SequenceEqual(FirstLogits(seed: 2)));

        static float[] FirstLogits(int seed)
        {
            using var tiny = Tiny(seed: seed);
            using var session = tiny.Model.CreateSession();
            using var logits = session.Forward([1, 2, 3]);
            return logits.data<float>().ToArray();
        }
    }
}
