using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>
/// The KV state of one sequence. Whoever created it owns it; it is used by one thread at a time.
/// </summary>
/// <remarks>
/// A call that throws <see cref="ArgumentException"/> or one of its kin leaves the sequence as it was.
/// </remarks>
public interface ICausalSession : IDisposable
{
    /// <summary>Tokens whose KV is present.</summary>
    int Length { get; }

    /// <summary>Computes tokens after those present and appends their KV.</summary>
    /// <param name="tokens">Token ids, at least one.</param>
    /// <returns>Logits of the last token, float32, shape <c>[vocabulary]</c>. The caller disposes it.</returns>
    /// <exception cref="ArgumentException">There are no tokens, or more than the context has room for.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A token is not in the vocabulary.</exception>
    torch.Tensor Forward(ReadOnlySpan<int> tokens);

    /// <summary>
    /// Computes tokens behind a prefix whose KV is still on its way, and appends the KV of both: the prefix's part of a layer is asked for
    /// just before the layer's attention.
    /// </summary>
    /// <param name="tokens">Token ids behind the prefix, at least one.</param>
    /// <param name="prefixTokens">Tokens of the prefix, which follow <see cref="Length"/>; at least one.</param>
    /// <param name="fill">
    /// Is called once a layer, in order: fills the layer's KV of the prefix, shape <c>[parts, tokens, heads, dim]</c>, and says whether it
    /// could (<see cref="LayerTensors.CopyToAsync"/> does).
    /// </param>
    /// <returns>
    /// Logits of the last token, as <see cref="Forward"/> gives them; null when a layer did not come, and then the sequence is as it was.
    /// The caller disposes them.
    /// </returns>
    /// <remarks>The call may go on on another thread than it began on. An exception of <paramref name="fill"/> leaves the sequence as it
    /// was.</remarks>
    /// <exception cref="ArgumentException">There are no tokens or no prefix, or more than the context has room for.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A token is not in the vocabulary.</exception>
    ValueTask<torch.Tensor?> ForwardAsync(ReadOnlyMemory<int> tokens, int prefixTokens, Func<int, torch.Tensor, ValueTask<bool>> fill);

    /// <summary>Appends KV that was computed before, for the positions that follow <see cref="Length"/>. The tensor is copied.</summary>
    /// <param name="block">
    /// Shape <c>[layers, parts, tokens, heads, dim]</c>, the layout's element type, on any device, any number of tokens.
    /// </param>
    /// <exception cref="ArgumentException">Shape or element type differ from the model's, or the context has no room.</exception>
    void ImportBlock(torch.Tensor block);

    /// <summary>Copies the KV of a run of tokens.</summary>
    /// <param name="firstToken">Position of the first token.</param>
    /// <param name="tokens">Number of tokens, at least one.</param>
    /// <returns>
    /// Contiguous CPU tensor of shape <c>[layers, parts, tokens, heads, dim]</c> and the layout's element type. The caller disposes it.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException">The run is not inside the sequence.</exception>
    torch.Tensor ExportBlock(int firstToken, int tokens);

    /// <summary>Forgets the tokens from this position on.</summary>
    /// <param name="length">New length, from 0 to <see cref="Length"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative or greater than the present one.</exception>
    void Truncate(int length);
}
