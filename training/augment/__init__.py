"""Context augmentation (Sec. 3.1 of the paper): labelled images in, situations and quotes out.

folder.py     class folders -> labelled images, each with its hash
sight.py      image -> what the annotator sees: the target person in a red box
prompt.py     the question, and the form of the answer
annotator.py  who answers: anthropic_messages.py, anthropic_batches.py, openai_chat.py
answer.py     the answer -> a context, or the reason why not
journal.py    what was paid for, on disk before anything else happens
ask.py        the loop over all of it, here; ray_data.py on many machines
cost.py       what it will cost, and what it did
output.py     the journal -> the annotations; card.py writes the data card

Run as `python -m training.augment FOLDER --out OUT.jsonl --annotator anthropic --model MODEL`.
"""
