using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.InferenceNode.Models;

/// <summary>
/// KV of one sequence of a <see cref="LlamaModel"/>: one tensor <c>[layers, 2, capacity, kv heads, dim]</c>, in the order of a
/// cache block, so that blocks go in and out by one strided copy. The capacity doubles when it is used up.
/// </summary>
internal sealed class LlamaSession : ICausalSession
{
    // Longer prompts are computed in runs of this many tokens: the activations of a run stay small, and it is more than
    // enough rows for the matrix products to be fast.
    private const int MaxRun = 512;

    private const int FirstCapacity = 256;
    private const int TokenDimension = 2;

    private readonly LlamaModel _model;
    private torch.Tensor? _storage;
    private int _capacity;
    private bool _disposed;

    public LlamaSession(LlamaModel model) => _model = model;

    /// <inheritdoc/>
    public int Length { get; private set; }

    /// <inheritdoc/>
    public torch.Tensor Forward(ReadOnlySpan<int> tokens)
    {
        Check(tokens);
        var logits = Forward(tokens, Length, Reserve(tokens.Length, nameof(tokens)));
        Length += tokens.Length;
        return logits;
    }

    /// <inheritdoc/>
    public async ValueTask<torch.Tensor?> ForwardAsync(
        ReadOnlyMemory<int> tokens, int prefixTokens, Func<int, torch.Tensor, ValueTask<bool>> fill)
    {
        ArgumentNullException.ThrowIfNull(fill);
        Check(tokens.Span);
        if (prefixTokens < 1)
            throw new ArgumentException("Expected at least one token of the prefix.", nameof(prefixTokens));
        var storage = Reserve((long)tokens.Length + prefixTokens, nameof(tokens));
        var first = Length + prefixTokens;

        // The first run meets every layer's KV as it comes; later runs find it there.
        var count = Math.Min(MaxRun, tokens.Length);
        torch.Tensor? logits = null;
        using (var run = _model.Begin(tokens.Span[..count], first))
        {
            for (var layer = 0; layer < _model.Config.Layers; layer++)
            {
                using (var part = Part(storage, layer, prefixTokens))
                {
                    if (!await fill(layer, part).ConfigureAwait(false))
                        return null;
                }

                _model.Advance(run, layer, storage);
            }

            if (count == tokens.Length)
                logits = _model.Finish(run);
        }

        logits ??= Forward(tokens.Span[count..], first + count, storage);
        Length = first + tokens.Length;
        return logits;
    }

    /// <inheritdoc/>
    public void ImportBlock(torch.Tensor block)
    {
        ArgumentNullException.ThrowIfNull(block);
        ObjectDisposedException.ThrowIf(_disposed, this);
        var tokens = block.dim() == 5 ? block.shape[TokenDimension] : 1;
        var expected = Shape(tokens);
        if (tokens < 1 || block.dtype != _model.ScalarType || !block.shape.AsSpan().SequenceEqual(expected))
        {
            throw new ArgumentException(
                $"A block of {block.dtype} [{string.Join(", ", block.shape)}] does not fit this model; expected {_model.ScalarType} "
                    + $"[{expected[0]}, {expected[1]}, tokens, {expected[3]}, {expected[4]}].",
                nameof(block));
        }

        var storage = Reserve(tokens, nameof(block));
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        storage.narrow(TokenDimension, Length, tokens).copy_(block);
        Length += (int)tokens;
    }

    /// <inheritdoc/>
    public torch.Tensor ExportBlock(int firstToken, int tokens)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (firstToken < 0 || firstToken >= Length)
            throw new ArgumentOutOfRangeException(
                nameof(firstToken), firstToken, $"Expected a position inside the sequence of {Length} tokens.");
        if (tokens < 1 || tokens > Length - firstToken)
            throw new ArgumentOutOfRangeException(
                nameof(tokens), tokens, $"Expected 1 to {Length - firstToken} tokens from position {firstToken} of {Length}.");

        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var block = torch.empty(Shape(tokens), _model.ScalarType, torch.CPU);
        block.copy_(_storage!.narrow(TokenDimension, firstToken, tokens));
        return block.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Truncate(int length)
    {
        if (length < 0 || length > Length)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"Expected a length from 0 to {Length}.");
        Length = length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _storage?.Dispose();
        _storage = null;
    }

    private torch.Tensor Forward(ReadOnlySpan<int> tokens, int first, torch.Tensor storage)
    {
        torch.Tensor? logits = null;
        for (var done = 0; done < tokens.Length;)
        {
            var run = Math.Min(MaxRun, tokens.Length - done);
            logits = _model.Forward(tokens.Slice(done, run), first + done, storage, logits: done + run == tokens.Length);
            done += run;
        }

        return logits!;
    }

    private void Check(ReadOnlySpan<int> tokens)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (tokens.IsEmpty)
            throw new ArgumentException("Expected at least one token.", nameof(tokens));
        foreach (var token in tokens)
        {
            if ((uint)token >= (uint)_model.VocabularySize)
                throw new ArgumentOutOfRangeException(nameof(tokens), token, $"Expected token ids from 0 to {_model.VocabularySize - 1}.");
        }
    }

    // The place of a layer's KV for the tokens that follow, [2, tokens, kv heads, dim].
    private torch.Tensor Part(torch.Tensor storage, int layer, int tokens)
    {
        using var scope = torch.NewDisposeScope();
        return storage.select(0, layer).narrow(TokenDimension - 1, Length, tokens).DetachFromDisposeScope();
    }

    /// <summary>Makes room for more tokens and returns the storage.</summary>
    private torch.Tensor Reserve(long more, string parameter)
    {
        if (more > _model.MaxContext - Length)
            throw new ArgumentException($"{more} tokens after {Length} exceed the context of {_model.MaxContext}.", parameter);
        var needed = Length + (int)more;
        if (_storage is not null && needed <= _capacity)
            return _storage;

        var capacity = (int)Math.Min(_model.MaxContext, Math.Max(needed, Math.Max(FirstCapacity, 2L * _capacity)));
        var old = _storage;
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var storage = torch.empty(Shape(capacity), _model.ScalarType, _model.Device);
        if (old is not null && Length > 0)
            storage.narrow(TokenDimension, 0, Length).copy_(old.narrow(TokenDimension, 0, Length));
        _storage = storage.DetachFromDisposeScope(); // it outlives whatever scope the caller is in
        _capacity = capacity;
        old?.Dispose();
        return _storage;
    }

    private long[] Shape(long tokens) => [_model.Config.Layers, 2, tokens, _model.Config.KvHeads, _model.Config.HeadDim];
}
