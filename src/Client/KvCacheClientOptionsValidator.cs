using Microsoft.Extensions.Options;

namespace KvCache.Client;

/// <summary>Ends a host at its start when the client's settings are wrong.</summary>
internal sealed class KvCacheClientOptionsValidator : IValidateOptions<KvCacheClientOptions>
{
    public ValidateOptionsResult Validate(string? name, KvCacheClientOptions options) =>
        options.Validate() is { Count: > 0 } failures ? ValidateOptionsResult.Fail(failures) : ValidateOptionsResult.Success;
}
